"""One update of the discriminator and one of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from colorgan.data.loader import DROPOUT, seed_of
from colorgan.runs.runtime import Runtime
from colorgan.training.ema import WeightAverage
from colorgan.training.losses import GanLoss, PictureLoss

LOSSES = ("loss_D", "loss_G_GAN", "loss_G_L1")


@dataclass(frozen=True)
class Pix2Pix:
    """The two networks and all that an iteration needs.

    One GradScaler serves both optimizers and is updated once an iteration; unless the precision
    is fp16 it is disabled and passes everything through.

    Attributes:
        generator, discriminator: the networks themselves; theirs are the weights.
        run_generator, run_discriminator: the same, compiled where that was chosen.
        group_generator, group_discriminator: those again, averaging gradients over a group of
            processes; without a group the same as `run_...`.
        average: the moving average of the generator; None without one.
        grad_clip: longest gradient of a network, 0 for any length.
        accumulation_steps: parts in which a batch is worked through.
        picture_losses: those of the generator beside L1.
        pretrain_iterations: the first iterations, in which the generator learns without the
            discriminator; the losses of the game are 0 there.
    """

    generator: nn.Module
    discriminator: nn.Module
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    scaler: GradScaler
    gan_loss: GanLoss
    lambda_l1: float
    runtime: Runtime
    run_generator: Callable[..., Tensor]
    run_discriminator: Callable[..., Tensor]
    group_generator: Callable[..., Tensor]
    group_discriminator: Callable[..., Tensor]
    average: WeightAverage | None = None
    grad_clip: float = 0.0
    accumulation_steps: int = 1
    seed: int = 0
    pretrain_iterations: int = 0
    picture_losses: tuple[PictureLoss, ...] = ()

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of what `train_step` returns."""
        return (*LOSSES, *(loss.name for loss in self.picture_losses))

    def train_step(self, input: Tensor, target: Tensor, iteration: int = 0) -> Tensor:
        """Update both networks on a batch; losses on the device, in the order of `losses`.

        The generator runs once, its picture is judged by both updates. A batch in parts is an
        exception: the graphs of all parts would take the memory that the parts are to save, so
        the generator runs anew, with the same dropout, for its own update.

        Args:
            input: `(N, I, H, W)` in [-1, 1], this process's share of the batch.
            target: `(N, C, H, W)` in [-1, 1].
            iteration: counted from 0; decides dropout, and whether the discriminator has joined.
        """
        adversarial = iteration >= self.pretrain_iterations
        if self.runtime.compile == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        inputs = input.chunk(self.accumulation_steps)
        targets = target.chunk(self.accumulation_steps)
        if not adversarial:
            loss_d, fakes = input.new_zeros(()), []
        elif self.accumulation_steps == 1:
            fakes = [self._generate(input, iteration, 0)]
        else:
            with torch.no_grad(), _frozen_statistics(self.generator):
                fakes = [self._generate(x, iteration, i) for i, x in enumerate(inputs)]
        if adversarial:
            loss_d = self._update_discriminator(inputs, targets, [fake.detach() for fake in fakes])
        if self.accumulation_steps > 1:
            fakes = []
        losses_g = self._update_generator(inputs, targets, fakes, iteration, adversarial)
        self.scaler.update()
        if self.average is not None:
            self.average.update(iteration)
        return torch.cat((loss_d[None], losses_g))

    def kept_generator(self) -> nn.Module:
        """Return the network that is validated and kept: the average, where there is one."""
        if self.average is None:
            return self.generator
        self.average.synchronise()
        return self.average.network

    def _generate(self, input: Tensor, iteration: int, part: int) -> Tensor:
        """Run the generator; its dropout depends on the place in the training alone."""
        use = DROPOUT + self.runtime.group.rank * self.accumulation_steps + part
        torch.manual_seed(seed_of(self.seed, iteration, use))
        with self.runtime.autocast():
            return self.group_generator(input)

    def _update_discriminator(
        self, inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...], fakes: list[Tensor]
    ) -> Tensor:
        self.discriminator.requires_grad_(True)
        self.optimizer_d.zero_grad(set_to_none=True)
        total = inputs[0].new_zeros(())
        for i, (input, target, fake) in enumerate(zip(inputs, targets, fakes, strict=True)):
            with self._averaging(self.group_discriminator, last=i == len(inputs) - 1):
                with self.runtime.autocast():
                    # Apart, as in pix2pix: batch norm then sees real and generated pictures on
                    # their own.
                    fake_logits = self.group_discriminator(input, fake)
                    real_logits = self.group_discriminator(input, target)
                loss = self.gan_loss.discriminator(real_logits, fake_logits) / len(inputs)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total = total + loss.detach()
        self._step(self.optimizer_d, self.discriminator)
        return total

    def _update_generator(
        self,
        inputs: tuple[Tensor, ...],
        targets: tuple[Tensor, ...],
        fakes: list[Tensor],
        iteration: int,
        adversarial: bool,
    ) -> Tensor:
        # The discriminator only passes gradients through here; its own would be thrown away.
        self.discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad(set_to_none=True)
        total = inputs[0].new_zeros(len(self.losses) - 1)
        for i, (input, target) in enumerate(zip(inputs, targets, strict=True)):
            with self._averaging(self.group_generator, last=i == len(inputs) - 1):
                fake = fakes[i] if fakes else self._generate(input, iteration, i)
                losses, loss = self._judge(input, fake, target, adversarial)
                self.scaler.scale(loss / len(inputs)).backward()  # type: ignore[no-untyped-call]
            total = total + losses / len(inputs)
        self._step(self.optimizer_g, self.generator)
        return total

    def _judge(
        self, input: Tensor, fake: Tensor, target: Tensor, adversarial: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the generator, each on its own, and their weighted sum."""
        loss_gan = input.new_zeros(())
        if adversarial:
            with self.runtime.autocast():
                fake_logits = self.run_discriminator(input, fake)
            loss_gan = self.gan_loss.generator(fake_logits)
        loss_l1 = F.l1_loss(fake.float(), target)
        losses, total = [loss_gan, loss_l1], loss_gan + self.lambda_l1 * loss_l1
        for each in self.picture_losses:
            losses.append(each.of(input, fake, target))
            total = total + each.weight * losses[-1]
        return torch.stack(losses).detach(), total

    def _step(self, optimizer: Optimizer, network: nn.Module) -> None:
        if self.grad_clip:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), self.grad_clip)
        self.scaler.step(optimizer)

    @staticmethod
    def _averaging(network: object, *, last: bool) -> AbstractContextManager[object]:
        """Average gradients over the group only in the last part, when they are complete."""
        if isinstance(network, DistributedDataParallel) and not last:
            return network.no_sync()
        return nullcontext()


@contextmanager
def _frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Keep batch norm from counting a batch that will pass once more."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
