"""Epochs over the training photos, with what is logged, validated and shown in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from colorgan.config import LoggingParams, TrainParams
from colorgan.data.arrays import Split
from colorgan.data.loader import AUGMENTATION, Batch, Batches, ahead, stream
from colorgan.errors import ColorganError
from colorgan.model import Model
from colorgan.runs.checkpoint import Checkpoints, Position
from colorgan.runs.distributed import anywhere, mean_and_flags, wait_for_all
from colorgan.runs.stopping import Stopped, StopSignal
from colorgan.spaces import Space
from colorgan.tracking.run import Recorder
from colorgan.training.augment import Moves, add_noise, augment, in_layout
from colorgan.training.initial_weights import NONE
from colorgan.training.optim import lr_factor
from colorgan.training.progress import TrainingProgress
from colorgan.training.selection import BestWeights
from colorgan.training.step import Pix2Pix
from colorgan.training.validate import sample_grid, validate

AGREE_EVERY = 10
"""Iterations after which the processes of a group ask one another, besides where they log."""


@dataclass(frozen=True)
class Trainer:
    """Everything a training run is made of; of a group, one process's part of it.

    Attributes:
        val: validation photos, none in processes that do not record.
        position: how far training has come; moves on.
        checkpoints: where it is written now and then; None in processes that do not record.
        stop: whether somebody wishes that training stops.
        best: keeps the weights of the best epoch, where those are to be kept.
    """

    space: Space
    train: TrainParams
    logging: LoggingParams
    step: Pix2Pix
    batches: Batches
    val: Split
    image_size: int
    recorder: Recorder
    progress: TrainingProgress
    position: Position
    checkpoints: Checkpoints | None
    stop: StopSignal
    best: BestWeights | None = None

    @property
    def iterations(self) -> int:
        """Iterations of the whole training."""
        return self.train.epochs * len(self.batches)

    def fit(self) -> None:
        """Train from the present position to the end.

        Raises:
            ColorganError: a loss is no longer finite.
            KeyboardInterrupt, SystemExit: training was asked to stop; a checkpoint was written.
        """
        try:
            self._fit()
        except Stopped:
            self._save(wait=True)
            # The first process to end has the launcher end the others.
            wait_for_all(self.step.runtime.group)
            self.stop.stop()

    def _fit(self) -> None:
        if self.position.iteration == 0:
            # What the untrained network makes of the photos: the first of the stepped pictures.
            self._draw(0)
            if self.best is not None and self.train.init != NONE:
                # Of weights that were trained before, what comes may be no better.
                self._validate(0)
        while True:
            epoch, start = divmod(self.position.iteration, len(self.batches))
            if epoch > self.position.epoch:
                self._after_epoch(epoch)
                self.position.epoch = epoch
            if epoch == self.train.epochs:
                return
            self._train_epoch(epoch, start)

    def _train_epoch(self, epoch: int, start: int) -> None:
        """Update on each batch; read the losses from the device only where they are logged."""
        batches = self.batches.epoch(epoch, start)
        for batch in ahead(batches, self.step.runtime.device):
            iteration = self.position.iteration
            self._set_lr(iteration)
            losses = self.step.train_step(*self.prepare(batch, iteration), iteration)
            self.position.since_log.append(losses)
            self.position.iteration += 1
            self._after_iteration(epoch + 1)

    def prepare(self, batch: Batch, iteration: int) -> tuple[Tensor, Tensor]:
        """Convert a batch on the device to floats there and augment it."""
        group = self.step.runtime.group
        share = len(batch[0])
        moves = Moves.draw(
            share * group.world_size, stream(self.train.seed, iteration, AUGMENTATION)
        ).part(slice(group.rank * share, (group.rank + 1) * share))
        encoded = augment(
            *self.space.encode(*batch), moves, flip=self.train.flip, jitter=self.train.jitter
        )
        if self.train.noise:
            encoded = add_noise(self.space, *encoded, moves, self.train.noise)
        return in_layout(encoded, channels_last=self.train.channels_last)

    def _set_lr(self, iteration: int) -> None:
        lr = self.train.lr * lr_factor(iteration, len(self.batches), self.train)
        for optimizer in (self.step.optimizer_g, self.step.optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = lr

    def _after_iteration(self, epoch: int) -> None:
        """Log, write a checkpoint and stop where it is time; a group agrees on it now and then."""
        iteration = self.position.iteration
        logs = iteration % self.logging.log_every == 0 or iteration == self.iterations
        due = self.checkpoints is not None and self.checkpoints.due(iteration)
        stop = bool(self.stop.received)
        if logs:
            up = self._log(iteration, epoch, (due, stop))
            due, stop = bool(up[0]), bool(up[1])
        elif self.step.runtime.group.world_size > 1:
            if iteration % AGREE_EVERY:
                return
            due, stop = anywhere((due, stop))
        if due and not stop:
            self._save()
        if stop:
            # In a group the signal may have reached another process alone.
            self.stop.received = self.stop.received or 15
            raise Stopped

    def _log(self, iteration: int, epoch: int, flags: tuple[bool, bool]) -> list[float]:
        means = torch.stack(self.position.since_log).mean(dim=0)
        means, up = mean_and_flags(means, flags, self.step.runtime.group)
        self.position.since_log.clear()
        losses = dict(zip(self.step.losses, means.tolist(), strict=True))
        _require_finite(losses, iteration)
        self.recorder.log_losses(iteration, epoch, losses)
        self.progress.update(iteration, epoch, losses)
        flagged: list[float] = up.tolist()
        return flagged

    def _save(self, *, wait: bool = False) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(self.step, self.position, wait=wait)

    def _after_epoch(self, epoch: int) -> None:
        """Validate and draw a grid where it is due; `epoch` counts from 1, the last is always."""
        last = epoch == self.train.epochs
        if last or epoch % self.train.val_every == 0:
            self._validate(epoch)
        if last or epoch % self.logging.sample_every == 0:
            self._draw(epoch)

    def _validate(self, epoch: int) -> None:
        """Measure the generator on the validation photos, and keep it if none was better."""
        if not len(self.val):
            return
        # A group stops only where all of it can: rank 0 alone is here.
        alone = self.step.runtime.group.world_size == 1
        between = self.stop.check if alone else _go_on
        with self._model() as model:
            figures = validate(model, self.val, self.train.batch_size, between)
        self.recorder.log_validation(epoch, figures)
        if self.best is not None:
            self.best.offer(self.step.kept_generator(), epoch, figures["score"])

    def _draw(self, epoch: int) -> None:
        """Record a grid of validation photos."""
        if len(self.val):
            with self._model() as model:
                grid = sample_grid(model, self.val, self.logging.sample_photos)
            self.recorder.log_picture(grid, "val/grid", epoch)

    @contextmanager
    def _model(self) -> Iterator[Model]:
        """Lend the generator, or its average, in evaluation mode, to what colours photos."""
        generator = self.step.kept_generator()
        generator.eval()
        try:
            yield Model(generator, self.space, self.image_size, "", self.step.runtime.device)
        finally:
            generator.train()


def _go_on() -> None:
    """Do not stop."""


def _require_finite(losses: dict[str, float], iteration: int) -> None:
    bad = [name for name, value in losses.items() if not abs(value) < float("inf")]
    if bad:
        raise ColorganError(
            f"{bad[0]} is {losses[bad[0]]} at iteration {iteration}: training has diverged; lower "
            "train.lr in params.yaml, or set train.amp to off"
        )
