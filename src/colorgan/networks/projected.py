"""The projected discriminator, which sees a picture through ImageNet features."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from colorgan.networks.backbones import frozen_backbone
from colorgan.networks.layers import channels_last

FEATURES = "efficientnet_lite0"


class ProjectedDiscriminator(nn.Module):
    """Discriminator on frozen EfficientNet-Lite0 features of the decoded picture at half its size.

    Features at 1/4 to 1/32 of the side are mixed by fixed random convolutions over channels and
    from coarse to fine, so that the discriminator cannot rely on a few of them. Trained are only
    small convolutions with spectral norm, one head a scale, with `ndf` channels. `decode` converts
    inputs and generator outputs to sRGB in 0..1 `(N, H, W, 3)`.

    Source: Sauer et al., "Projected GANs Converge Faster" (2021); spectral norm: Miyato et al.
    (2018).
    """

    def __init__(self, decode: Callable[[Tensor, Tensor], Tensor], ndf: int = 64) -> None:
        super().__init__()
        self._decode = decode
        network = frozen_backbone(FEATURES, features_only=True)
        maps: Any = network.feature_info
        # In a tuple, so that its weights are not trained, saved or averaged over a group.
        self._features = (network,)
        widths = maps.channels()[1:]
        for i, width in enumerate(widths):
            self.register_buffer(f"over_channels_{i}", _random(ndf, width, 1))
            self.register_buffer(f"over_scales_{i}", _random(ndf, ndf, 3))
        self.judges = nn.ModuleList(_head(ndf) for _ in widths)

    def forward(self, condition: Tensor, picture: Tensor) -> Tensor:
        """Map condition and picture `(N, C, H, W)` to logits `(N, 4, H / 8, W / 8)`.

        A logit above 0 is real. The four channels are the scales, resized to the finest.
        """
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
            logits.append(self.judges[i](_normalised(mixed)))
        finest = logits[-1].shape[-2:]
        return torch.cat([F.interpolate(x.float(), size=finest) for x in logits], dim=1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # `to` moves the features too.
        self._features[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        module: nn.Module = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return module


def _random(out_channels: int, in_channels: int, side: int) -> Tensor:
    """Return random convolution weights that keep the variance."""
    fan_in = in_channels * side * side
    return torch.randn(out_channels, in_channels, side, side) / math.sqrt(fan_in)


def _head(width: int) -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, 1, 1)),
    )


def _normalised(x: Tensor) -> Tensor:
    """Scale the channels of each pixel to a mean square of 1, in float32."""
    x = x.float()
    mean_square: Tensor = x.square().mean(dim=1, keepdim=True)
    return x * torch.rsqrt(mean_square + 1e-6)
