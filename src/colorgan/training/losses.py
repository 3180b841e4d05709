"""Adversarial losses on the discriminator's logits, and losses between whole pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.networks.backbones import frozen_backbone
from colorgan.networks.convolution import channels_last
from colorgan.runs.runtime import Runtime
from colorgan.spaces import Space

PERCEIVES = "efficientnet_lite0"
POOLED = 10.0
"""Weight of the pooled features beside the maps, of which they are then the larger part."""
CELLS = 16
"""Cells along a side in which colourfulness is counted."""

GanLossName = Literal["vanilla", "lsgan", "hinge"]


class GanLoss(Protocol):
    """An adversarial loss in its two halves; logits `(N, K, h, w)` in, a scalar out."""

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


@dataclass(frozen=True)
class PictureLoss:
    """A loss of the generator beside L1, under the name it is recorded by, with its weight.

    Attributes:
        name: column of losses.csv.
        weight: its share in what the generator learns from.
        of: of input, output and target, each `(N, ..., H, W)` in [-1, 1], to a scalar.
    """

    name: str
    weight: float
    of: Callable[[Tensor, Tensor, Tensor], Tensor]


class ColorfulnessLoss:
    """How far the colourfulness of each picture is from that of its truth, in hundreds.

    L1 alone answers doubt with gray. This does not say which colour, but how much of it: the
    measure of Hasler and Suesstrunk (2003), see `evaluation.metrics.colorfulness`, of the picture
    as seen from afar, averaged over 16 x 16 cells, without the outermost ring of them. From near
    the measure's standard deviation is got most cheaply by few garish pixels, and generators were
    seen to paint a line of them along an edge, which they know by its padding. In float32.

    Args:
        space: what inputs and outputs mean.

    Source: the idea of a loss on colourfulness is DDColor's (Kang et al., 2023), which wants every
    picture as colourful as can be instead.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    def __call__(self, input: Tensor, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the pictures; all three `(N, ..., H, W)` in [-1, 1]."""
        input, output, target = (F.avg_pool2d(x.float(), 2) for x in (input, output, target))
        generated = _colorfulness(self._space.decode(input, output))
        with torch.no_grad():
            true = _colorfulness(self._space.decode(input, target))
        return (generated - true).abs().mean() / 100


class PerceptualLoss:
    """How far apart a network that has seen ImageNet finds a picture and its truth.

    Features of EfficientNet-Lite0 at 1/2 to 1/32 of the side, each scaled to length 1 over its
    channels: their squared distances, averaged over the places and added up; and of the pooled
    features before the classifier `POOLED` times the squared distance in relation to the squared
    length of the truth's. The L of both is nearly the same: it is the colour that is judged, by
    what it makes of the things in the picture, which the network has learnt to see at 224 px.

    Args:
        space: what inputs and outputs mean.
        runtime: where and in which precision the network runs; the colours are float32 always.
        size: side in pixels to which pictures are brought before the network looks at them.

    Source: Johnson et al., "Perceptual losses for real-time style transfer" (2016); the form of the
    maps' part is that of LPIPS without learnt weights (Zhang et al., 2018).
    """

    def __init__(self, space: Space, runtime: Runtime, size: int) -> None:
        self._space, self._autocast, self._size = space, runtime.autocast, size
        self._network: Any = frozen_backbone(PERCEIVES, num_classes=0).to(runtime.device)

    def __call__(self, input: Tensor, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the pictures; all three `(N, ..., H, W)` in [-1, 1]."""
        input = input.float()
        with torch.no_grad():
            true, true_pooled = self._features(self._space.decode(input, target.float()))
        maps, pooled = self._features(self._space.decode(input, output.float()))
        distances = [(x - y).square().sum(dim=1).mean() for x, y in zip(maps, true, strict=True)]
        apart = (pooled - true_pooled).square().sum(dim=1)
        relative = apart / true_pooled.square().sum(dim=1).clamp(min=1e-6)
        return torch.stack(distances).sum() + POOLED * relative.mean()

    def _features(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps, of length 1, and the pooled features `(N, 1280)` of sRGB in 0..1."""
        x, sides = 2 * pictures.movedim(-1, 1) - 1, (self._size, self._size)
        if x.shape[-2:] != sides:
            x = F.interpolate(x, sides, mode="bilinear", antialias=True)
        with self._autocast():
            last, maps = self._network.forward_intermediates(channels_last(x))
        return [F.normalize(y.float(), dim=1) for y in maps], last.float().mean(dim=(2, 3))


def _colorfulness(pictures: Tensor) -> Tensor:
    """Return the colourfulness `(N,)` of the inner cells of sRGB `(N, H, W, 3)` in 0..1."""
    cells = F.adaptive_avg_pool2d(255 * pictures.movedim(-1, 1), CELLS)[..., 1:-1, 1:-1]
    red, green, blue = cells.flatten(2).unbind(1)
    opponents = torch.stack((red - green, (red + green) / 2 - blue))
    # A gray picture has neither; the root of zero has no slope.
    spread = (opponents.var(dim=-1, correction=0).sum(0) + 1e-4).sqrt()
    centre = (opponents.mean(dim=-1).square().sum(0) + 1e-4).sqrt()
    return spread + 0.3 * centre


def _towards(logits: Tensor, label: float) -> Tensor:
    # Under autocast logits are half precision; the loss is not.
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
