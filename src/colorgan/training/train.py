"""The stages train_rgb and train_lab: arrays in, a generator and its loss curves out."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch

from colorgan import io, paths
from colorgan.config import Params, SpaceName, SpaceParams, flat
from colorgan.data.arrays import DatasetInfo, Split, open_split, read_info
from colorgan.data.loader import Batches, open_batches
from colorgan.model import WEIGHTS, save_model
from colorgan.runs.checkpoint import Checkpoint, Checkpoints, CutShort, Position
from colorgan.runs.compiling import choose_mode, compile_failure
from colorgan.runs.distributed import from_rank_0, launch, launched, process_group
from colorgan.runs.lock import TrainingLock
from colorgan.runs.resume import ResumeFolder, digest_of
from colorgan.runs.runtime import Group, Runtime, choose_device, choose_devices
from colorgan.runs.stopping import StopSignal
from colorgan.spaces import Space, get_space
from colorgan.tracking.run import Recorder, RunDescription, open_recorder, send_unsent
from colorgan.training.augment import in_layout
from colorgan.training.build import build_step
from colorgan.training.checks import check_fit
from colorgan.training.initial_weights import FirstWeights, first_weights
from colorgan.training.progress import training_progress
from colorgan.training.selection import BestWeights
from colorgan.training.step import Pix2Pix
from colorgan.training.trainer import Trainer

BROKEN_KEPT = 4
"""Other trainings of a stage that were broken off and are kept, to go on with."""


def train(params: Params, space_name: SpaceName) -> int:
    """Train the networks of one space; writes models/<space> and reports/<space>/*.csv.

    Goes on from a checkpoint where an earlier start with the same parameters, data and code was
    stopped; several GPUs are used by as many processes, which it starts itself.

    Returns:
        The exit code: not 0 where a process that it started has failed, and said why.

    Raises:
        ColorganError: there are no arrays yet, they do not fit the parameters, or training
            diverged. What an earlier run wrote stays as it was.
        KeyboardInterrupt, SystemExit: it was asked to stop, and wrote a checkpoint.
    """
    # Before anything is computed: threads take it over from the one that starts them.
    torch.set_flush_denormal(True)
    own, folder = params.space(space_name), paths.processed(space_name)
    info = read_info(folder)
    photos, val = open_split(folder, "train"), open_split(folder, "val")
    device = choose_device(params.runtime.device)
    processes = choose_devices(params.runtime.devices, device)
    if launched():
        processes = Group.of_environment().world_size
    check_fit(info, photos, own, device, processes)
    space = get_space(space_name)
    weights = first_weights(space, own)
    digest = digest_of(own, info.digest, weights.sha256, device.type)
    place = ResumeFolder.of(f"train_{space_name}", digest)
    job = Job(params, space, own, info, photos, val, weights, place)
    if processes > 1 and not launched():
        return launch(space_name, processes, device)
    with process_group(device) as group:
        job.run(group, device)
    return 0


@dataclass(frozen=True)
class Job:
    """One training, from its parameters to its outs, in one process of a group."""

    params: Params
    space: Space
    own: SpaceParams
    info: DatasetInfo
    photos: Split
    val: Split
    weights: FirstWeights
    place: ResumeFolder

    @property
    def title(self) -> str:
        """What a person calls it."""
        return f"train {self.space.name}"

    def run(self, group: Group, device: torch.device) -> None:
        """Train, or put out what was trained already; rank 0 alone records and writes."""
        with ExitStack() as stack:
            if group.rank == 0:
                stack.enter_context(TrainingLock(self.place.path, self.space.name))
                send_unsent()
            done = self.place.finished(device.type) if group.rank == 0 else None
            if from_rank_0(done is not None, group):
                self._say(group, "was trained to the end already, with these parameters, data and "
                          f"code: its results are put out again (remove {self.place.path} to "
                          "train anew)")  # fmt: skip
            else:
                self._train(group)
            if group.rank == 0:
                self.place.put_out(self.space.name)

    def _train(self, group: Group) -> None:
        checkpoint = from_rank_0(self._checkpoint(group) if group.rank == 0 else None, group)
        decided = checkpoint.decisions if checkpoint else None
        runtime = Runtime.decide(self.own.train, self.params.runtime, decided)
        batches = self._batches(runtime)
        runtime = self._with_compile(runtime, batches, checkpoint)
        step = self._build(runtime, len(batches))
        position = Position()
        if checkpoint:
            try:
                position = checkpoint.restore(step)
            except CutShort as error:
                self._begin_anew(group, f"{self.place.checkpoint}: {error}")
                step = self._build(runtime, len(batches))
            else:
                total = self.own.train.epochs * len(batches)
                self._say(group, f"goes on from iteration {position.iteration} of {total}")
        del checkpoint
        with ExitStack() as stack:
            stop = stack.enter_context(StopSignal(patient=group.world_size > 1))
            trainer = self._trainer(stack, stop, step, batches, position)
            with compile_failure(runtime.compile or "off"):
                try:
                    trainer.fit()
                except (KeyboardInterrupt, SystemExit):
                    done = f"{position.iteration} of {trainer.iterations}"
                    self._say(group, f"stopped after iteration {done}; the same command goes on")
                    raise
            if group.rank == 0:
                self._keep(step, trainer)
        if group.rank == 0:
            self.place.finish(position.iteration, runtime.device.type)

    def _checkpoint(self, group: Group) -> Checkpoint | None:
        """Read the checkpoint; one that is cut short cannot be helped, and training begins anew."""
        self._forget_others()
        try:
            checkpoint = Checkpoint.read(self.place.checkpoint)
        except CutShort as error:
            self._begin_anew(group, str(error))
            return None
        if checkpoint:
            devices = checkpoint.decisions.get("devices", "1")
            for then, now in (
                (f"torch {checkpoint.torch}", f"torch {torch.__version__}"),
                (f"{devices} process(es)", f"{group.world_size} process(es)"),
            ):
                if then != now:
                    print(
                        f"{self.title}: the checkpoint is of {then}, this is {now}: the weights "
                        "may differ from those of an unbroken training",
                        file=sys.stderr,
                    )
        return checkpoint

    def _begin_anew(self, group: Group, why: str) -> None:
        """Say that a checkpoint is of no use, and remove it."""
        if group.rank == 0:
            print(f"{self.title}: {why}: training begins anew", file=sys.stderr, flush=True)
            self.place.checkpoint.unlink()

    def _forget_others(self) -> None:
        """Drop other trainings of this stage that nobody runs: the finished, the older broken."""
        self.place.clean()
        broken = 0
        for other in self.place.others():
            with other.held() as ours:
                if not ours:
                    continue
                to_go_on = other.checkpoint.exists()
                broken += to_go_on
                if broken > BROKEN_KEPT or not to_go_on:
                    # Whoever is about to train there makes the folder anew when it has the lock.
                    other.remove()

    def _batches(self, runtime: Runtime) -> Batches:
        train, machine = self.own.train, self.params.runtime
        return open_batches(
            self.photos,
            train.batch_size,
            train.seed,
            machine.num_workers,
            runtime.device,
            runtime.pin_memory,
            machine.device_cache,
            runtime.group,
        )

    def _build(self, runtime: Runtime, iterations: int = 0) -> Pix2Pix:
        return build_step(
            self.space, self.own, self.info.image_size, runtime, self.weights.state, iterations
        )

    def _with_compile(
        self, runtime: Runtime, batches: Batches, checkpoint: Checkpoint | None
    ) -> Runtime:
        """Decide whether to compile, where that was left to a trial."""
        if runtime.compile is not None:
            return runtime
        mode = None
        if runtime.group.rank == 0:
            done = checkpoint.iteration if checkpoint else 0
            left = self.own.train.epochs * len(batches) - done
            shape = len(next(batches.epoch(0))[0]), self.info.image_size, self.info.image_size
            input = torch.zeros(shape, dtype=torch.uint8)
            target = torch.zeros((*shape, self.space.out_channels), dtype=torch.uint8)
            encoded = self.space.encode(input.to(runtime.device), target.to(runtime.device))
            batch = in_layout(encoded, channels_last=self.own.train.channels_last)
            mode = choose_mode(self._build, batch, runtime, self.own, left)
        mode = from_rank_0(mode, runtime.group)
        return replace(runtime, compile=mode)

    def _trainer(
        self,
        stack: ExitStack,
        stop: StopSignal,
        step: Pix2Pix,
        batches: Batches,
        position: Position,
    ) -> Trainer:
        """Open what a trainer records to; a process that is not the first records nowhere."""
        train, machine = self.own.train, self.params.runtime
        first = step.runtime.group.rank == 0
        recorder, checkpoints, val = Recorder(), None, self.val.take([])
        if first:
            run = self._description(step.runtime, position)
            recorder = stack.enter_context(open_recorder(run))
            checkpoints = Checkpoints(
                self.place.checkpoint,
                self.title,
                machine.checkpoint_minutes,
                machine.checkpoint_iterations,
            )
            stack.callback(checkpoints.close)
            val = _spread(self.val, train.val_photos)
        progress = stack.enter_context(
            training_progress(
                machine.progress if first else "none",
                self.title,
                train.epochs * len(batches),
                train.epochs,
                train.batch_size,
            )
        )
        best = BestWeights(self.place.best) if first and train.keep == "best" else None
        if best and position.iteration == 0:
            best.forget()
        return Trainer(
            self.space, train, step, batches, val, self.info.image_size,
            recorder, progress, position, checkpoints, stop, best,
        )  # fmt: skip

    def _description(self, runtime: Runtime, position: Position) -> RunDescription:
        shared = (
            flat(self.params.evaluate, "evaluate.")
            | flat(self.params.render, "render.")
            | flat(self.params.runtime, "runtime.")
        )
        return RunDescription(
            stage=f"train_{self.space.name}",
            space=self.space.name,
            params=flat(self.own) | shared,
            dataset=self.info,
            extra=runtime.described() | self.weights.described(),
            folder=self.place.path,
            token=self.place.token(),
            iteration=position.iteration,
            epoch=position.epoch,
        )

    def _keep(self, step: Pix2Pix, trainer: Trainer) -> None:
        """Save the model where a kill cannot reach it, and record it."""
        # Asked for once: it brings running statistics up to date, over those of a better epoch.
        network = step.kept_generator()
        chosen = trainer.best.restore(network) if trainer.best else None
        if chosen:
            epoch, score = chosen
            self._say(step.runtime.group, f"keeps the weights of epoch {epoch}, score {score:.3f}")
        with io.folder_aside(self.place.model) as aside:
            save_model(aside, network, self.space, self.own.model, self.info.image_size)
        trainer.recorder.log_model(self.place.model, io.sha256(self.place.model / WEIGHTS))

    def _say(self, group: Group, what: str) -> None:
        if group.rank == 0 and self.params.runtime.progress != "none":
            print(f"{self.title}: {what}", flush=True)


def _spread(val: Split, n_photos: int) -> Split:
    """Return `n_photos` spread over the split, or all of it."""
    if not n_photos or n_photos >= len(val):
        return val
    return val.take(np.linspace(0, len(val) - 1, n_photos).round().astype(int).tolist())
