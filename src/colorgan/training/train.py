"""The stages train_rgb and train_lab: from arrays to a generator and its loss curves."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from colorgan import io, paths
from colorgan.config import SPACES, Params, SpaceName, flat
from colorgan.data.arrays import DatasetInfo, Split, open_split, read_info
from colorgan.data.loader import Batches
from colorgan.model import WEIGHTS, Model, save_model
from colorgan.runs.checkpoint import Checkpoints, Position
from colorgan.runs.distributed import from_rank_0, launch, launched, process_group
from colorgan.runs.progress import TrainingProgress
from colorgan.runs.run_dir import RunDir, digest_of
from colorgan.runs.runtime import Group, Runtime, choose_device, choose_devices, compile_errors
from colorgan.runs.stopping import StopSignal
from colorgan.spaces import Space, get_space
from colorgan.tracking.run import Recorder, open_recorder, record_finished
from colorgan.tracking.unsent import RunDescription
from colorgan.training.build import build_step, check_compatible
from colorgan.training.initial_weights import InitialWeights, read_initial_weights
from colorgan.training.trainer import Trainer
from colorgan.training.validate import BestWeights, Validator, best_of, score_of, spread

MIXED_SHARES = (0.25, 0.5, 0.75)


def train(params: Params, space_name: SpaceName) -> int:
    """Train the networks of one space; writes models/<space> and reports/<space>/*.csv.

    Resumes from a checkpoint of the same parameters, data and code. On several GPUs it starts a
    process for each.

    Returns the exit code: not 0 if a process that it started has failed, and said why.
    ColorganError if there are no arrays, they do not fit the parameters, or training diverged;
    earlier results stay as they were.
    """
    # For speed on CPUs; first, because torch's threads inherit it when they start.
    torch.set_flush_denormal(True)
    cfg, space = params.space(space_name), get_space(space_name)
    folder = paths.processed(space_name)
    info = read_info(folder)
    photos, val = open_split(folder, "train"), open_split(folder, "val")
    device = choose_device(params.runtime.device)
    processes = choose_devices(params.runtime.devices, device)
    if launched():
        processes = Group.of_environment().world_size
    check_compatible(cfg, info, len(photos), device, processes)
    weights = read_initial_weights(space, cfg)
    if processes > 1 and not launched():
        return launch(space_name, processes, device)
    with process_group(device):
        train, machine = cfg.train, params.runtime
        iterations = train.epochs * (len(photos) // train.batch_size)
        runtime = Runtime.decide(train, machine, iterations)
        digest = digest_of(cfg, info.digest, weights.sha256 + weights.discriminator_sha256, runtime)
        run_dir = RunDir(paths.resume(f"train_{space_name}") / digest)
        is_rank_0 = runtime.group.rank == 0
        progress = TrainingProgress(
            f"train {space_name}", iterations, train.epochs, train.batch_size, quiet=not is_rank_0
        )
        training = Training(params, space, info, photos, val, weights, runtime, run_dir, progress)
        with run_dir.locked(space_name) if is_rank_0 else nullcontext():
            training.run()
    return 0


@dataclass(frozen=True)
class Training:
    """One training as one process of a group runs it; rank 0 alone records and writes."""

    params: Params
    space: Space
    info: DatasetInfo
    photos: Split
    val: Split
    weights: InitialWeights
    runtime: Runtime
    run_dir: RunDir
    progress: TrainingProgress

    def run(self) -> None:
        """Train, unless that was done before, and copy the results to models/ and reports/."""
        group = self.runtime.group
        if from_rank_0(self.run_dir.done.exists(), group):
            self.progress.say(
                "was trained to the end already, with these parameters, data and code: its "
                f"results are copied again (remove {self.run_dir.path} to train anew)"
            )
            if group.rank == 0:
                model = self.run_dir.model
                sha256 = io.sha256(model / WEIGHTS)
                record_finished(self._describe(), self.run_dir.path, model, sha256)
        else:
            self._train()
        if group.rank == 0:
            self.run_dir.copy_to_outs(self.space.name)

    def _train(self) -> None:
        cfg, machine = self.params.space(self.space.name), self.params.runtime
        runtime, progress = self.runtime, self.progress
        is_rank_0 = runtime.group.rank == 0
        checkpoint = self.run_dir.read_checkpoint(progress) if is_rank_0 else None
        checkpoint = from_rank_0(checkpoint, runtime.group)
        batches = Batches(
            self.photos, cfg.train.batch_size, cfg.train.seed, machine.num_workers,
            runtime.device.type == "cuda", runtime.group,
        )  # fmt: skip
        step = build_step(
            self.space, cfg, self.info.image_size, runtime, self.weights.state, len(batches),
            self.weights.discriminator,
        )  # fmt: skip
        if checkpoint:
            position = checkpoint.restore(step.stateful(), runtime.device)
            progress.say(f"goes on from iteration {position.iteration} of {progress.iterations}")
        else:
            position = Position()
            if is_rank_0:
                shutil.rmtree(self.run_dir.best, ignore_errors=True)
        del checkpoint  # frees its copy of the weights
        # Ranks other than 0 record nothing and validate no photos.
        recorder, checkpoints, best, val = Recorder(), None, None, self.val.take([])
        with ExitStack() as stack:
            stop = stack.enter_context(StopSignal(patient=runtime.group.world_size > 1))
            if is_rank_0:
                recorder = stack.enter_context(
                    open_recorder(
                        self._describe(), self.run_dir.path, position.iteration, position.epoch
                    )
                )
                minutes = machine.checkpoint_minutes
                checkpoints = Checkpoints(self.run_dir.checkpoint, progress.title, minutes)
                best = BestWeights(self.run_dir.best) if cfg.train.keep == "best" else None
                val = spread(self.val, cfg.train.val_photos) if cfg.train.val_photos else self.val
            validator = Validator(val, cfg.train.batch_size, frechet=best is not None)
            trainer = Trainer(
                self.params.logging, step, batches, validator, self.info.image_size, recorder,
                progress, position, stop, checkpoints, best,
            )  # fmt: skip
            try:
                with compile_errors(runtime.compile):
                    trainer.fit()
                if is_rank_0:
                    self._keep_model(trainer)
            except (KeyboardInterrupt, SystemExit):
                done = f"{position.iteration} of {progress.iterations}"
                progress.say(f"stopped after iteration {done}; the same command resumes")
                raise
        if is_rank_0:
            self.run_dir.finish()

    def _describe(self) -> RunDescription:
        name, info, weights = self.space.name, self.info, self.weights
        cfg = self.params.space(name)
        shared = {k: v for k, v in flat(self.params).items() if not k.startswith(SPACES)}
        tags = {"space": name, "data.digest": info.digest, "mlflow.loggedImages": "True"}
        if weights.state is not None:
            tags |= {"init": cfg.train.init, "init.generator_sha256": weights.sha256}
        return RunDescription(
            f"train_{name}",
            self.run_dir.token(),
            params=flat(cfg) | shared,
            tags=tags | self.runtime.tags(),
            dataset={
                "name": paths.processed(name).as_posix(),
                "digest": info.digest,
                "profile": {**info.counts, "rejected": info.rejected},
            },
        )

    def _keep_model(self, trainer: Trainer) -> None:
        """Save the last or the best weights in the run's folder, and record them."""
        cfg, gain = self.params.space(self.space.name), 1.0
        with trainer.generator_as_model() as model:
            network = model.generator
            if trainer.best and trainer.best.scores():
                kept = self._load_best(trainer, trainer.best, model)
                trainer.progress.say(f"keeps the weights of {kept}")
            if cfg.train.calibrate_gain and len(trainer.validator.split):
                gain = round(trainer.validator.vivid_gain(model), 3)
                trainer.progress.say(f"its colours are multiplied by {gain:g}, the gain")
        folder = self.run_dir.model
        with io.folder_aside(folder) as aside:
            save_model(aside, network, self.space, cfg.model, self.info.image_size, gain)
        trainer.recorder.log_model(folder, io.sha256(folder / WEIGHTS))

    def _load_best(self, trainer: Trainer, best: BestWeights, model: Model) -> str:
        """Load the best weights, or a mix of them and the initial ones; return their name.

        Source: Wang et al., "ESRGAN" (2018), section 3.4: network interpolation.
        """
        scores = best.scores()
        kept = best_of(scores)
        after, initial = best.weights(kept), self.weights.state or {}
        # Not kept in the folder: a training that ends here mixes the same weights when it resumes.
        mixes: dict[str, dict[str, Tensor]] = {}
        for share in MIXED_SHARES if initial else ():
            mixed = {
                name: x.lerp(after[name], share) if x.is_floating_point() else after[name]
                for name, x in initial.items()
            }
            model.generator.load_state_dict(mixed)
            name = f"{kept}, {share:.0%} of the way from the initial weights"
            mixes[name], scores[name] = mixed, score_of(trainer.validator(model))
            if trainer.stop.received:
                trainer.stop.exit()
        kept = best_of(scores)
        model.generator.load_state_dict(mixes.get(kept) or best.weights(kept))
        return kept
