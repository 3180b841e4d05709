"""The training loop: epochs over the photos, and what is logged, validated and saved between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from colorgan.config import LoggingParams
from colorgan.data.loader import Batches
from colorgan.errors import ColorganError
from colorgan.model import Model
from colorgan.runs.checkpoint import Checkpoints, Position
from colorgan.runs.distributed import any_rank, mean_over_ranks, wait_for_all
from colorgan.runs.progress import TrainingProgress
from colorgan.runs.stopping import StopSignal
from colorgan.tracking.run import Recorder
from colorgan.training.augment import prepare_batch
from colorgan.training.initial_weights import RANDOM
from colorgan.training.optim import learning_rate, set_learning_rate
from colorgan.training.step import TrainingStep
from colorgan.training.validate import BestWeights, Validator, sample_grid

DISCRIMINATOR_WINS = 0.02
"""Below this loss_D tells the generator nothing any more; a discriminator that guesses has 0.69."""
AGREE_EVERY = 10
"""Iterations after which the processes of a group agree on stopping and checkpoints."""


@dataclass(frozen=True)
class Trainer:
    """Trains from `position`, which it moves, to the end; one for each process of a group.

    In processes other than rank 0 the validator has no photos, and `checkpoints` and `best` are
    None; `best` is also None unless `train.keep` is `best`.
    """

    logging: LoggingParams
    step: TrainingStep
    batches: Batches
    validator: Validator
    image_size: int
    recorder: Recorder
    progress: TrainingProgress
    position: Position
    stop: StopSignal
    checkpoints: Checkpoints | None = None
    best: BestWeights | None = None

    def fit(self) -> None:
        """Train from the present position to the end.

        ColorganError if a loss is not finite; KeyboardInterrupt or SystemExit if training was asked
        to stop, when a checkpoint was written.
        """
        train = self.step.train
        if self.position.iteration == 0:
            # Trained weights are a candidate too: training can make them worse.
            validate = self.best is not None and train.init != RANDOM
            self._validate_and_draw(0, validate, draw=True)
        while True:
            epoch, start = divmod(self.position.iteration, len(self.batches))
            # So many epochs are trained; after a resume the last of them may not be validated yet.
            if epoch > self.position.epoch:
                last = epoch == train.epochs
                validate = last or epoch % train.val_every == 0
                draw = last or epoch % self.logging.sample_every == 0
                self._validate_and_draw(epoch, validate, draw)
                self.position.epoch = epoch
                self._stop_or_save(last)
            if epoch == train.epochs:
                return
            self._train_epoch(epoch, start)

    def _train_epoch(self, epoch: int, start: int) -> None:
        """Train on the batches of an epoch from batch `start`; the losses stay on the device."""
        step, device, group = self.step, self.step.runtime.device, self.step.runtime.group
        for batch in self.batches.epoch(epoch, start):
            iteration = self.position.iteration
            rate = learning_rate(iteration, len(self.batches), step.train)
            set_learning_rate(step.optimizer_g, rate)
            set_learning_rate(step.optimizer_d, rate * step.train.lr_d_factor)
            # Only copies to CUDA keep the source until they are done.
            input, target = (x.to(device, non_blocking=device.type == "cuda") for x in batch)
            input, target = prepare_batch(step.space, step.train, (input, target), iteration, group)
            losses = step.train_step(input, target, iteration)
            self.position.since_log.append(mean_over_ranks(losses, group))
            self.position.iteration = iteration = iteration + 1
            if iteration % self.logging.log_every == 0 or iteration == self.progress.iterations:
                self._log(iteration, epoch + 1)
            if group.world_size == 1 or iteration % AGREE_EVERY == 0:
                self._stop_or_save()

    def _stop_or_save(self, ended: bool = False) -> None:
        """Save a checkpoint if it is due, and stop if that was asked; a group decides together."""
        due = self.checkpoints is not None and (ended or self.checkpoints.due())
        stop, due = any_rank((bool(self.stop.received), due), self.step.runtime.group)
        if (stop or due) and self.checkpoints is not None:
            self.checkpoints.save(self.step.stateful(), self.position)
        if stop:
            # The launcher ends the other processes as soon as the first one ends.
            wait_for_all(self.step.runtime.group)
            self.stop.exit()

    def _log(self, iteration: int, epoch: int) -> None:
        """Record the mean losses since the last log; this waits for the device."""
        means = torch.stack(self.position.since_log).mean(dim=0)
        self.position.since_log.clear()
        losses = dict(zip(self.step.loss_names, means.tolist(), strict=True))
        self._check(losses, iteration)
        self.recorder.log_losses(iteration, epoch, losses)
        self.progress.update(iteration, epoch, losses)

    def _check(self, losses: Mapping[str, float], iteration: int) -> None:
        """Raise ColorganError if a loss is not finite, or with `gan_gate` if loss_D is near 0.

        With `gan_gate`, also say at the end if the discriminator has not learned.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                raise ColorganError(
                    f"{name} is {value} at iteration {iteration}: training has diverged; lower "
                    "train.lr in params.yaml, or set train.amp to off"
                )
        gate, loss_d = self.step.train.gan_gate, losses["loss_D"]
        # A loss is the mean of log_every iterations: none of them may be from before it joined.
        if not gate or iteration - self.logging.log_every < self.step.gan_start:
            return
        if loss_d < DISCRIMINATOR_WINS:
            raise ColorganError(
                f"the discriminator wins: loss_D is {loss_d:.3f} at iteration "
                f"{iteration}; lower train.lr_d_factor in params.yaml, or raise train.lambda_l1, "
                "which keeps the colours near the truth"
            )
        if loss_d >= gate and iteration == self.progress.iterations:
            self.progress.say(
                f"the discriminator has not learned: loss_D is {loss_d:.3f} at the end, not below "
                f"train.gan_gate ({gate:g}), so that most batches train the generator without it; "
                "raise train.lr_d_factor in params.yaml"
            )

    def _validate_and_draw(self, epoch: int, validate: bool, draw: bool) -> None:
        """Record figures and a grid of the validation photos, if there are any.

        With `keep: best` the weights are offered as the best; `epoch` is 0 for the initial ones.
        """
        if not len(self.validator.split):
            return
        with self.generator_as_model() as model:
            if validate:
                figures = self.validator(model)
                self.recorder.log_validation(epoch, figures)
                if self.best is not None:
                    state = model.generator.state_dict()
                    self.best.offer(state, f"epoch {epoch:05}", figures)
            if draw:
                grid = sample_grid(model, self.validator.split, self.logging.sample_photos)
                self.recorder.log_picture(grid, "val/grid", epoch)

    @contextmanager
    def generator_as_model(self) -> Iterator[Model]:
        """Yield the generator, or its average, as a model in evaluation mode."""
        generator = self.step.kept_generator()
        generator.eval()
        try:
            yield Model(generator, self.step.space, self.image_size, "", self.step.runtime.device)
        finally:
            generator.train()
