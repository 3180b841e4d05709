"""The adversarial loss on the discriminator's logits, and losses between whole pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.networks.backbones import frozen_backbone
from colorgan.networks.layers import channels_last
from colorgan.runs.runtime import Runtime
from colorgan.spaces import Space

PERCEPTUAL_BACKBONE = "efficientnet_lite0"
POOLED_WEIGHT = 10.0
"""Weight of the pooled features in the perceptual loss; they are then its larger part."""
CELLS = 16
"""Cells along a side over which the colourfulness loss averages."""


def gan_loss(logits: Tensor, *, real: bool) -> Tensor:
    """Return how far logits `(N, K, h, w)` are from calling all pictures real, or all generated.

    Source: Goodfellow et al., "Generative Adversarial Nets" (2014); the generator's loss in its
    non-saturating form.
    """
    # Under autocast logits are half precision; the loss is not.
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


PictureLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps input, output and target of the generator, each `(N, ..., H, W)` in [-1, 1], to a scalar."""


def l1_loss(input: Tensor, output: Tensor, target: Tensor) -> Tensor:  # noqa: ARG001
    """Return the mean absolute difference of output and target, in float32."""
    return F.l1_loss(output.float(), target)


class ColorfulnessLoss:
    """Difference in colourfulness between each picture and its ground truth, in hundreds.

    L1 answers doubt with gray; this asks for as much colour as the truth has. Colourfulness is
    that of Hasler and Suesstrunk (2003), see `evaluation.metrics.colorfulness`, of means over
    16 x 16 cells without the outermost ring: on single pixels the generator raised the measure by
    painting a garish line along an edge.

    Source: DDColor (Kang et al. 2023) has a colourfulness loss too, which asks for as much colour
    as possible.
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
    """Distance between a picture and its ground truth in ImageNet features.

    EfficientNet-Lite0 has seen ImageNet at 224 px. Its feature maps at 1/2 to 1/32 of the side,
    normalised over the channels, give squared distances, averaged over the positions and summed.
    Added is the squared distance of the pooled features relative to their squared length, times
    `POOLED_WEIGHT`. Pictures are resized to `size` pixels for the network; colours are float32.

    Source: Johnson et al. 2016, "Perceptual losses for real-time style transfer"; the maps' part
    is LPIPS without learned weights (Zhang et al. 2018).
    """

    def __init__(self, space: Space, runtime: Runtime, size: int) -> None:
        self._space, self._autocast, self._size = space, runtime.autocast, size
        self._network: Any = frozen_backbone(PERCEPTUAL_BACKBONE, num_classes=0).to(runtime.device)

    def __call__(self, input: Tensor, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the pictures; all three `(N, ..., H, W)` in [-1, 1]."""
        input = input.float()
        with torch.no_grad():
            true, true_pooled = self._features(self._space.decode(input, target.float()))
        maps, pooled = self._features(self._space.decode(input, output.float()))
        distances = [(x - y).square().sum(dim=1).mean() for x, y in zip(maps, true, strict=True)]
        difference = (pooled - true_pooled).square().sum(dim=1)
        relative = difference / true_pooled.square().sum(dim=1).clamp(min=1e-6)
        return torch.stack(distances).sum() + POOLED_WEIGHT * relative.mean()

    def _features(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return normalised maps and pooled features `(N, 1280)` of sRGB `(N, H, W, 3)` in 0..1."""
        x, sides = 2 * pictures.movedim(-1, 1) - 1, (self._size, self._size)
        if x.shape[-2:] != sides:
            x = F.interpolate(x, sides, mode="bilinear", antialias=True)
        with self._autocast():
            last, maps = self._network.forward_intermediates(channels_last(x))
        return [F.normalize(y.float(), dim=1) for y in maps], last.float().mean(dim=(2, 3))


def _colorfulness(pictures: Tensor) -> Tensor:
    """Return the colourfulness `(N,)` of the inner cells of sRGB `(N, H, W, 3)` in 0..1."""
    # Not adaptive_avg_pool2d, whose gradient on CUDA is not deterministic; the bits are the same.
    side = pictures.shape[1] // CELLS
    sums = F.avg_pool2d(255 * pictures.movedim(-1, 1), side, divisor_override=1)
    cells = (sums / side / side)[..., 1:-1, 1:-1]
    red, green, blue = cells.flatten(2).unbind(1)
    opponents = torch.stack((red - green, (red + green) / 2 - blue))
    # The constants keep the gradient of the root finite for gray pictures.
    spread = (opponents.var(dim=-1, correction=0).sum(0) + 1e-4).sqrt()
    centre = (opponents.mean(dim=-1).square().sum(0) + 1e-4).sqrt()
    return spread + 0.3 * centre
