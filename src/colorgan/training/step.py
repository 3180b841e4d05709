"""One update of the discriminator and one of the generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from colorgan.runtime import Runtime
from colorgan.training.losses import GanLoss

LOSSES = ("loss_D", "loss_G_GAN", "loss_G_L1")


@dataclass(frozen=True)
class Pix2Pix:
    """The two networks and all that an iteration needs.

    One GradScaler serves both optimizers and is updated once an iteration; unless the precision
    is fp16 it is disabled and passes everything through.
    """

    generator: nn.Module
    discriminator: nn.Module
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    scaler: GradScaler
    gan_loss: GanLoss
    lambda_l1: float
    runtime: Runtime

    def train_step(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Update both networks on a batch; losses as scalars on the device, named by `LOSSES`.

        The generator runs once: its picture is judged by both updates.
        """
        with self.runtime.autocast():
            fake = self.generator(input)
        loss_d = self._update_discriminator(input, target, fake.detach())
        loss_gan, loss_l1 = self._update_generator(input, target, fake)
        self.scaler.update()
        return loss_d, loss_gan, loss_l1

    def _update_discriminator(self, input: Tensor, target: Tensor, fake: Tensor) -> Tensor:
        self.discriminator.requires_grad_(True)
        self.optimizer_d.zero_grad(set_to_none=True)
        with self.runtime.autocast():
            # Apart, as in pix2pix: batch norm then sees real and generated pictures on their own.
            fake_logits = self.discriminator(input, fake)
            real_logits = self.discriminator(input, target)
        loss = self.gan_loss.discriminator(real_logits, fake_logits)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer_d)
        return loss.detach()

    def _update_generator(
        self, input: Tensor, target: Tensor, fake: Tensor
    ) -> tuple[Tensor, Tensor]:
        # The discriminator only passes gradients through here; its own would be thrown away.
        self.discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad(set_to_none=True)
        with self.runtime.autocast():
            fake_logits = self.discriminator(input, fake)
        loss_gan = self.gan_loss.generator(fake_logits)
        loss_l1 = F.l1_loss(fake.float(), target)
        loss = loss_gan + self.lambda_l1 * loss_l1
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer_g)
        return loss_gan.detach(), loss_l1.detach()
