"""One training step of pix2pix: one update of the discriminator, then one of the generator."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from colorgan.data.loader import DROPOUT, seed_of
from colorgan.training.losses import GanLoss, PictureLoss
from colorgan.training.optim import WeightAverage


@dataclass(frozen=True)
class Pix2Pix:
    """The two networks with their losses and optimizers.

    Attributes:
        generator, discriminator: the unwrapped modules; use them for `state_dict`.
        generate, discriminate: their forward passes, compiled and in DistributedDataParallel
            where that was chosen.
        judge: the forward pass of the discriminator without DistributedDataParallel, for the
            generator's update.
        scaler: serves both optimizers; disabled unless training runs in fp16.
        autocast: returns a new context in which forward passes run.
        picture_losses: the losses between the generated picture and the ground truth; L1 first.
        average: the exponential moving average of the generator, None without one.
        grad_clip: largest norm of a network's gradient; 0: no clipping.
        gan_start: iteration at which the discriminator joins.
        generator_start: iteration from which the generator learns from the discriminator; between
            the two the discriminator learns alone.
        gan_gate: the adversarial loss counts only below this loss of the discriminator; 0: always.
        as_real, as_fake: map input and target, or input and generated picture, to the picture that
            the discriminator sees.
        hints: maps input, target and iteration to a tuple with the hints of the batch, or to ().
        seed, rank: dropout depends on these and on the iteration.
    """

    generator: nn.Module
    discriminator: nn.Module
    generate: Callable[..., Tensor]
    discriminate: Callable[..., Tensor]
    judge: Callable[..., Tensor]
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    scaler: GradScaler
    autocast: Callable[[], AbstractContextManager[object]]
    gan_loss: GanLoss
    picture_losses: tuple[PictureLoss, ...]
    average: WeightAverage | None
    grad_clip: float
    gan_start: int
    generator_start: int
    gan_gate: float
    as_real: Callable[[Tensor, Tensor], Tensor]
    as_fake: Callable[[Tensor, Tensor], Tensor]
    hints: Callable[[Tensor, Tensor, int], tuple[Tensor, ...]]
    seed: int
    rank: int

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The names of the losses that `train_step` returns."""
        return ("loss_D", "loss_G_GAN", *(loss.name for loss in self.picture_losses))

    def train_step(self, input: Tensor, target: Tensor, iteration: int) -> Tensor:
        """Update both networks on a batch.

        Args:
            input: `(N, I, H, W)` in [-1, 1], this process's share of the batch.
            target: `(N, C, H, W)` in [-1, 1].
            iteration: counted from 0.

        Returns:
            The losses, in the order of `loss_names`, on the device and without a graph.
        """
        adversarial = iteration >= self.gan_start
        # The generator waits while the discriminator learns alone.
        generator_learns = not adversarial or iteration >= self.generator_start

        # 1. fake
        torch.manual_seed(seed_of(self.seed, iteration, DROPOUT + self.rank))
        hints = self.hints(input, target, iteration)
        with torch.set_grad_enabled(generator_learns), self.autocast():
            fake = self.generate(input, *hints)

        # 2. D. Real and generated pictures pass separately, as in pix2pix, so that batch norm
        # normalises each kind on its own.
        loss_d = input.new_zeros(())
        if adversarial:
            self.discriminator.requires_grad_(True)
            self.optimizer_d.zero_grad()
            with self.autocast():
                on_fake = self.discriminate(input, self.as_fake(input, fake.detach()))
                on_real = self.discriminate(input, self.as_real(input, target))
            loss_d = self.gan_loss.discriminator(on_real, on_fake)
            self._update(self.optimizer_d, self.discriminator, loss_d)

        # 3. G. The discriminator only passes gradients through; its own are not needed.
        self.discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad()
        total = input.new_zeros(())
        with torch.set_grad_enabled(generator_learns):
            if adversarial:
                with self.autocast():
                    on_fake = self.judge(input, self.as_fake(input, fake))
                total = self.gan_loss.generator(on_fake)
            losses = [loss_d, total]
            if self.gan_gate:
                total = total * (loss_d.detach() < self.gan_gate)
            for loss in self.picture_losses:
                losses.append(loss.of(input, fake, target))
                total = total + loss.weight * losses[-1]
        if generator_learns:
            self._update(self.optimizer_g, self.generator, total)
        self.scaler.update()

        # 4. EMA
        if self.average is not None and generator_learns:
            self.average.update(iteration)
        return torch.stack([loss.detach() for loss in losses])

    def _update(self, optimizer: Optimizer, network: nn.Module, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.grad_clip:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), self.grad_clip)
        self.scaler.step(optimizer)

    def kept_generator(self) -> nn.Module:
        """Return the network that is validated and kept: the average, where there is one."""
        if self.average is None:
            return self.generator
        self.average.copy_buffers()
        return self.average.network

    def stateful(self) -> dict[str, nn.Module | Optimizer | GradScaler]:
        """Return by name all that has a `state_dict`, for checkpoints."""
        parts: dict[str, nn.Module | Optimizer | GradScaler] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "optimizer_g": self.optimizer_g,
            "optimizer_d": self.optimizer_d,
            "scaler": self.scaler,
        }
        if self.average is not None:
            parts["average"] = self.average.network
        return parts
