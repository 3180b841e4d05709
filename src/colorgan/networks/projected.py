"""A discriminator that looks at a picture through a network that has seen ImageNet."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colorgan.networks.backbones import frozen_features
from colorgan.networks.convolution import channels_last

SEES = "efficientnet_lite0"


class ProjectedDiscriminator(nn.Module):
    """Say of each place of a picture whether it looks real, by the features that are found there.

    Condition `(N, C1, H, W)` and picture `(N, C2, H, W)` to logits `(N, 4, h, w)`, h = H / 8: those
    of four scales, from 1/4 to 1/32 of the side, brought to the size of the finest. Pictures are
    taken at half the size, as `PerceptualLoss` takes them.

    The features are those of EfficientNet-Lite0, which learns nothing here, mixed by fixed random
    weights over their channels and from coarse to fine, so that the discriminator cannot do with
    the few that serve it best. What learns are two small convolutions a scale, with spectral norm.
    Real and generated pictures are worlds apart for an untrained PatchGAN; here they are compared
    by what is in them from the first iteration.

    Args:
        decode: makes pictures `(N, H, W, 3)`, sRGB in 0..1, of an input and an output.
        ndf: channels at each scale.

    Raises:
        ColorganError: timm or the package with the weights is missing.

    Source: Sauer et al., "Projected GANs Converge Faster" (2021); spectral norm: Miyato et al.
    (2018).
    """

    def __init__(self, decode: Callable[[Tensor, Tensor], Tensor], ndf: int = 64) -> None:
        super().__init__()
        self._decode = decode
        network, widths = frozen_features(SEES)
        # Not a part of what is trained, kept and averaged over a group.
        self._features = (network,)
        widths = widths[1:]
        for i, width in enumerate(widths):
            self.register_buffer(f"over_channels_{i}", _random(ndf, width, 1))
            self.register_buffer(f"over_scales_{i}", _random(ndf, ndf, 3))
        self.judges = nn.ModuleList(_judge(ndf) for _ in widths)

    def forward(self, condition: Tensor, picture: Tensor) -> Tensor:
        """Return logits `(N, 4, h, w)`, above 0 where a place looks real."""
        halves = (F.avg_pool2d(x.float(), 2) for x in (condition, picture))
        srgb = self._decode(*halves).movedim(-1, 1)
        maps = self._features[0](channels_last(2 * srgb - 1))[1:]
        logits: list[Tensor] = []
        mixed: Tensor | None = None
        for i in reversed(range(len(maps))):
            here = F.conv2d(maps[i], self.get_buffer(f"over_channels_{i}"))
            if mixed is not None:
                here = here + F.interpolate(mixed, size=here.shape[-2:], mode="nearest")
            mixed = F.conv2d(here, self.get_buffer(f"over_scales_{i}"), padding=1)
            logits.append(self.judges[i](_of_one_strength(mixed)))
        finest = logits[-1].shape[-2:]
        return torch.cat([F.interpolate(x.float(), size=finest) for x in logits], dim=1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # To another device and layout with the rest.
        self._features[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        module: nn.Module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return module


def _random(out_channels: int, in_channels: int, side: int) -> Tensor:
    """Return weights of a convolution that keeps the strength of what passes."""
    fan_in = in_channels * side * side
    return torch.randn(out_channels, in_channels, side, side) / math.sqrt(fan_in)


def _judge(width: int) -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, 1, 1)),
    )


def _of_one_strength(x: Tensor) -> Tensor:
    """Scale the channels at each place to a mean square of 1; in float32."""
    x = x.float()
    strength: Tensor = x.square().mean(dim=1, keepdim=True)
    return x * torch.rsqrt(strength + 1e-6)
