"""Epochs over the training photos, with what is logged, validated and shown in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from colorgan.colorizer import Colorizer, build_generator
from colorgan.data.arrays import Split
from colorgan.data.loader import Batch, TrainingBatches, epoch_generator
from colorgan.errors import ColorganError
from colorgan.networks import PatchGAN, initialise
from colorgan.params import SpaceParams, TrainParams
from colorgan.runtime import Runtime
from colorgan.spaces import Space
from colorgan.tracking.recorder import Recorder
from colorgan.training.augment import augment
from colorgan.training.losses import gan_loss
from colorgan.training.progress import TrainingProgress
from colorgan.training.step import LOSSES, Pix2Pix
from colorgan.training.validate import sample_grid, validate

AUGMENT_STREAM = 1


def build_step(space: Space, params: SpaceParams, image_size: int, runtime: Runtime) -> Pix2Pix:
    """Build both networks, freshly initialised, with their optimizers, on the device."""
    train = params.train
    layout = torch.channels_last if train.channels_last else torch.contiguous_format
    generator = build_generator(space, params.model, image_size)
    channels = space.in_channels + space.out_channels
    discriminator = PatchGAN(channels, params.model.ndf, params.model.n_layers)
    for network in (generator, discriminator):
        initialise(network)
        network.to(device=runtime.device, memory_format=layout)  # type: ignore[call-overload]
    optimizer_g, optimizer_d = (
        Adam(network.parameters(), train.lr, (train.beta1, train.beta2), fused=True)
        for network in (generator, discriminator)
    )
    return Pix2Pix(
        generator,
        discriminator,
        optimizer_g,
        optimizer_d,
        GradScaler(runtime.device.type, enabled=runtime.precision == "fp16"),
        gan_loss(train.gan_loss),
        train.lambda_l1,
        runtime,
    )


def lr_factor(epoch: int, train: TrainParams) -> float:
    """Return what the learning rate is multiplied by in `epoch`, counted from 0.

    Constant, then linear towards 0 over the last `decay_epochs`, as in pix2pix's code.
    """
    into_decay = epoch + 1 - (train.epochs - train.decay_epochs)
    return 1.0 - max(0, into_decay) / (train.decay_epochs + 1)


@dataclass(frozen=True)
class Trainer:
    """Everything a training run is made of.

    `since_log` holds the losses of the iterations since the last log, still on the device.
    """

    space: Space
    train: TrainParams
    step: Pix2Pix
    batches: TrainingBatches
    val: Split
    image_size: int
    recorder: Recorder
    progress: TrainingProgress
    since_log: list[Tensor] = field(default_factory=list)

    def fit(self) -> None:
        """Train for all epochs.

        Raises:
            ColorganError: a loss is no longer finite.
        """
        schedulers = [
            LambdaLR(optimizer, lambda epoch: lr_factor(epoch, self.train))
            for optimizer in (self.step.optimizer_g, self.step.optimizer_d)
        ]
        # What the untrained network makes of the photos: the first of the stepped pictures.
        self._draw(0)
        for epoch in range(self.train.epochs):
            self._train_epoch(epoch)
            for scheduler in schedulers:
                scheduler.step()
            self._after_epoch(epoch + 1)

    def _train_epoch(self, epoch: int) -> None:
        """Update on each batch; read the losses from the device only where they are logged."""
        random = epoch_generator(self.train.seed, epoch, AUGMENT_STREAM)
        last = self.train.epochs * len(self.batches)
        for i, batch in enumerate(self.batches.epoch(epoch), start=1):
            input, target = self._prepare(batch, random)
            self.since_log.append(torch.stack(self.step.train_step(input, target)))
            iteration = epoch * len(self.batches) + i
            if iteration % self.train.log_every == 0 or iteration == last:
                self._log(iteration, epoch + 1)

    def _prepare(self, batch: Batch, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Copy a batch to the device, convert it to floats there and augment it."""
        device = self.step.runtime.device
        layout = torch.channels_last if self.train.channels_last else torch.contiguous_format
        input, target = (array.to(device, non_blocking=True) for array in batch)
        input, target = augment(
            *self.space.encode(input, target),
            flip=self.train.flip,
            jitter=self.train.jitter,
            generator=random,
        )
        return input.contiguous(memory_format=layout), target.contiguous(memory_format=layout)

    def _log(self, iteration: int, epoch: int) -> None:
        means = torch.stack(self.since_log).mean(dim=0).tolist()
        self.since_log.clear()
        losses = dict(zip(LOSSES, means, strict=True))
        _require_finite(losses, iteration)
        self.recorder.log_losses(iteration, epoch, losses)
        self.progress.update(iteration, epoch, losses)

    def _after_epoch(self, epoch: int) -> None:
        """Validate and draw a grid where it is due; `epoch` counts from 1, the last is always."""
        last = epoch == self.train.epochs
        if len(self.val) and (last or epoch % self.train.val_every == 0):
            with self._colorizer() as colorizer:
                figures = validate(colorizer, self.val, self.train.batch_size)
            self.recorder.log_validation(epoch, figures)
        if last or epoch % self.train.sample_every == 0:
            self._draw(epoch)

    def _draw(self, epoch: int) -> None:
        """Record a grid of validation photos."""
        if len(self.val):
            with self._colorizer() as colorizer:
                grid = sample_grid(colorizer, self.val, self.train.sample_photos)
            self.recorder.log_picture(grid, "val/grid", epoch)

    @contextmanager
    def _colorizer(self) -> Iterator[Colorizer]:
        """Lend the generator, in evaluation mode, to what colours photos."""
        generator = self.step.generator.eval()
        try:
            yield Colorizer(generator, self.space, self.image_size, "", self.step.runtime.device)
        finally:
            generator.train()


def _require_finite(losses: dict[str, float], iteration: int) -> None:
    bad = [name for name, value in losses.items() if not abs(value) < float("inf")]
    if bad:
        raise ColorganError(
            f"{bad[0]} is {losses[bad[0]]} at iteration {iteration}: training has diverged; lower "
            "train.lr in params.yaml, or set train.amp to off"
        )
