"""Colour hints: a branch that turns the colours of a few pixels into features for the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (128, 128, 64, 32)


class HintBranch(nn.Module):
    """Convolutions over hints, whose last layers begin at zero.

    They are added to the decoder's feature maps at 1/32, 1/16, 1/8 and 1/4 of the side, which have
    `channels`. Until they are trained, hints change nothing, and weights without them fit.

    Source: the local hints of Zhang et al., "Real-Time User-Guided Image Colorization with Learned
    Deep Priors" (2017).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        deep, middle, fine, finest = WIDTHS
        self.convolutions = nn.ModuleList(
            [
                nn.Sequential(_convolution(3, finest), _convolution(finest, finest)),
                _convolution(finest, fine, stride=2),
                _convolution(fine, middle, stride=2),
                nn.Sequential(_convolution(middle, deep, stride=2), _convolution(deep, deep)),
            ]
        )
        self.last = nn.ModuleList(map(_zero_convolution, WIDTHS, channels))

    def forward(self, hints: Tensor) -> list[Tensor]:
        """Map hints `(N, 3, H, W)`, ab / 110 and a mask, to four feature maps, coarse to fine.

        Where the mask is 0, ab is 0 too.
        """
        # Means over the pixels with a hint, so that one pixel counts as much as a patch.
        # Not with divisor_override=1, which is lost in ONNX.
        sums = 16 * F.avg_pool2d(hints, 4)
        ab, count = sums[:, :2], sums[:, 2:]
        y = torch.cat((ab / count.clamp(min=1), count.clamp(max=1)), dim=1)
        maps = []
        for convolve in self.convolutions:
            y = convolve(y)
            maps.append(y)
        return [layer(y) for layer, y in zip(self.last, reversed(maps), strict=True)]


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def _zero_convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution
