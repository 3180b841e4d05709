"""Adversarial losses on the discriminator's logits."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

GanLossName = Literal["vanilla", "lsgan", "hinge"]


class GanLoss(Protocol):
    """An adversarial loss in its two halves; logits `(N, 1, h, w)` in, a scalar out."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss, the mean of its real and its fake half."""

    def generator(self, fake: Tensor) -> Tensor:
        """Return the generator's loss on the logits of its pictures."""


class VanillaLoss:
    """Binary cross-entropy, the generator's in its non-saturating form (Goodfellow et al. 2014)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Real patches towards 1, generated ones towards 0; halved, as pix2pix does."""
        return 0.5 * (_towards(real, 1.0) + _towards(fake, 0.0))

    def generator(self, fake: Tensor) -> Tensor:
        """Generated patches towards 1."""
        return _towards(fake, 1.0)


class LeastSquaresLoss:
    """Least squares on the logits (Mao et al. 2017, LSGAN)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Real patches towards 1, generated ones towards 0; halved."""
        return 0.5 * ((real.float() - 1).square().mean() + fake.float().square().mean())

    def generator(self, fake: Tensor) -> Tensor:
        """Generated patches towards 1."""
        return (fake.float() - 1).square().mean()


class HingeLoss:
    """Hinge loss (Lim and Ye 2017, Geometric GAN); halved like the others."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Real logits above 1, generated ones below -1."""
        return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())

    def generator(self, fake: Tensor) -> Tensor:
        """Generated logits as high as can be."""
        return -fake.float().mean()


_LOSSES: dict[str, GanLoss] = {
    "vanilla": VanillaLoss(),
    "lsgan": LeastSquaresLoss(),
    "hinge": HingeLoss(),
}


def gan_loss(name: GanLossName) -> GanLoss:
    """Return the adversarial loss called `name`."""
    return _LOSSES[name]


def _towards(logits: Tensor, label: float) -> Tensor:
    # Under autocast logits are half precision; the loss is not.
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
