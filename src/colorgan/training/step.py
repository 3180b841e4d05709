"""One training step of pix2pix: one update of the discriminator, then one of the generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from colorgan.config import TrainParams
from colorgan.data.loader import DROPOUT, seed_of
from colorgan.runs.checkpoint import Parts
from colorgan.runs.runtime import Runtime
from colorgan.spaces import Space
from colorgan.training.augment import draw_hints
from colorgan.training.losses import PictureLoss, gan_loss
from colorgan.training.optim import update_average


@dataclass(frozen=True)
class TrainingStep:
    """The training step: both networks with their losses and optimizers.

    Attributes:
        generator, discriminator: the unwrapped modules; use them for `state_dict`.
        generate, discriminate: their forward passes, compiled and in DistributedDataParallel
            where that was chosen.
        discriminate_local: the discriminator's forward pass without DistributedDataParallel, for
            the generator's update.
        scaler: serves both optimizers; disabled unless training runs in fp16.
        picture_losses: the losses between the generated picture and the ground truth, with their
            weights, by their columns in losses.csv.
        average: a copy of the generator for the moving average of its weights, None without one.
        gan_start: iteration at which the discriminator joins.
    """

    space: Space
    train: TrainParams
    runtime: Runtime
    generator: nn.Module
    discriminator: nn.Module
    generate: Callable[..., Tensor]
    discriminate: Callable[..., Tensor]
    discriminate_local: Callable[..., Tensor]
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    scaler: GradScaler
    picture_losses: Mapping[str, tuple[float, PictureLoss]]
    average: nn.Module | None
    gan_start: int

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of the losses that `train_step` returns."""
        return ("loss_D", "loss_G_GAN", *self.picture_losses)

    def train_step(self, input: Tensor, target: Tensor, iteration: int) -> Tensor:
        """Update both networks on this process's share of a batch; return the losses.

        `input` `(N, I, H, W)` and `target` `(N, C, H, W)` are in [-1, 1], `iteration` counts from
        0. The losses are in the order of `loss_names`, on the device and without a graph.
        """
        adversarial = iteration >= self.gan_start

        # 1. fake
        if self.runtime.compile == "reduce-overhead":  # with CUDA graphs
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        torch.manual_seed(seed_of(self.train.seed, iteration, DROPOUT + self.runtime.group.rank))
        hints = self.draw_hints(input, target, iteration)
        with self.runtime.autocast():
            fake = self.generate(input, *hints)

        # 2. D
        loss_d = input.new_zeros(())
        if adversarial:
            loss_d = self.update_discriminator(input, target, fake.detach())

        # 3. G. The discriminator only passes gradients through; its own are not needed.
        self.discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad()
        total = input.new_zeros(())
        if adversarial:
            with self.runtime.autocast():
                on_fake = self.discriminate_local(input, self._as_fake(input, fake))
            total = gan_loss(on_fake, real=True)
        losses = [loss_d, total]
        if self.train.gan_gate:
            total = total * (loss_d.detach() < self.train.gan_gate)
        for weight, loss in self.picture_losses.values():
            losses.append(loss(input, fake, target))
            total = total + weight * losses[-1]
        self._update(self.optimizer_g, total)
        self.scaler.update()

        # 4. EMA
        if self.average is not None:
            update_average(self.average, self.generator, self.train.ema_decay, iteration)
        return torch.stack([loss.detach() for loss in losses])

    def update_discriminator(self, input: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        """Update the discriminator on real and generated pictures; return its loss.

        They pass separately, as in pix2pix, so that batch norm normalises each kind on its own.
        """
        self.discriminator.requires_grad_(True)
        self.optimizer_d.zero_grad()
        with self.runtime.autocast():
            on_fake = self.discriminate(input, self._as_fake(input, fake))
            on_real = self.discriminate(input, target)
        loss = 0.5 * (gan_loss(on_real, real=True) + gan_loss(on_fake, real=False))
        self._update(self.optimizer_d, loss)
        return loss

    def draw_hints(self, input: Tensor, target: Tensor, iteration: int) -> tuple[Tensor, ...]:
        """Draw the colour hints of a batch; return () where there are none."""
        if not self.train.hints or getattr(self.generator, "hints", None) is None:
            return ()
        _, ab = self.space.lab_of(input, target)
        return (draw_hints(ab, self.train.hints, self.train.seed, iteration, self.runtime.group),)

    def _as_fake(self, input: Tensor, fake: Tensor) -> Tensor:
        """Return a generated picture as the discriminator sees it."""
        return self.space.with_chroma(input, fake, self.train.fake_chroma)

    def _update(self, optimizer: Optimizer, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)

    def kept_generator(self) -> nn.Module:
        """Return the network that is validated and kept: the average, where there is one."""
        if self.average is None:
            return self.generator
        # The running statistics of batch norm are not averaged.
        buffers = zip(self.average.buffers(), self.generator.buffers(), strict=True)
        for averaged, present in buffers:
            averaged.copy_(present)
        return self.average

    def stateful(self) -> Parts:
        """Return by name all that has a `state_dict`, for checkpoints."""
        names = ("generator", "discriminator", "optimizer_g", "optimizer_d", "scaler", "average")
        return {name: part for name in names if (part := getattr(self, name)) is not None}
