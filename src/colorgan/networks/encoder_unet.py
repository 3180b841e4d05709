"""A U-Net whose way down is a backbone that has seen ImageNet."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorgan.errors import ParamsError
from colorgan.networks.backbones import create_backbone
from colorgan.networks.color_queries import ColorQueries
from colorgan.networks.depthwise import quicken_depthwise

MULTIPLE = 32
"""A backbone halves five times: sides are multiples of this."""
OF_COLORS = ("last.weight", "last.bias", "queries.mix.weight")
"""Parameters whose first dimension is that of the output's channels."""


class EncoderUNet(nn.Module):
    """U-Net on a pretrained backbone of timm, for gray or L; colour comes at half the size.

    `(N, in_channels, H, W)` in [-1, 1] to `(N, out_channels, H, W)`, which is meant for [-1, 1] and
    not clamped (`Space.decode` clips the picture); H and W are multiples of 32.
    Of the input the first channel alone is looked at (all are the same gray). Colours are computed
    at half the side and enlarged: the eye sees colour no sharper, JPEG keeps no more, and three
    quarters of the work at the widest layer are spared. An output with the channels of the input is
    computed as what is to be added to it, so that it keeps the input's sharpness.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        ngf: channels of the decoder at half the side; deeper blocks have 2, 4 and 8 times as many.
        encoder: timm's name of the backbone, such as `tf_efficientnet_lite0`.
        color_queries: learnt queries beside the convolutions (`ColorQueries`); 0 leaves them out.

    Raises:
        ColorganError: timm is missing or has no such backbone, or it does not halve five times.

    Source: Ronneberger et al., "U-Net" (2015); Tan and Le, "EfficientNet" (2019), in the Lite
    variant without squeeze-and-excitation; Iglovikov and Shvets, "TernausNet" (2018), for the
    pretrained way down.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ngf: int = 32,
        encoder: str = "tf_efficientnet_lite0",
        color_queries: int = 0,
    ) -> None:
        super().__init__()
        self.multiple = MULTIPLE
        self.adds = in_channels == out_channels
        self.encoder = create_backbone(encoder, features_only=True, in_chans=1)
        maps: Any = self.encoder.feature_info
        if maps.reduction() != [2, 4, 8, 16, 32]:
            raise ParamsError(
                f"params.yaml: model.encoder is {encoder!r}, whose feature maps are at 1/"
                f"{', 1/'.join(map(str, maps.reduction()))} of the side; it should be a backbone "
                "with maps at 1/2, 1/4, 1/8, 1/16 and 1/32, such as tf_efficientnet_lite0"
            )
        quicken_depthwise(self.encoder)
        skips: list[int] = maps.channels()
        before = skips.pop()
        self.up = nn.ModuleList()
        widths = [factor * ngf for factor in (8, 4, 2, 1)]
        for width in widths:
            self.up.append(_Up(before, skips.pop(), width))
            before = width
        self.last = nn.Conv2d(before, out_channels, 1)
        self.queries = ColorQueries(color_queries, widths, out_channels) if color_queries else None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        *skips, y = self.encoder(x[:, :1])
        maps = []
        for up in self.up:
            y = up(y, skips.pop())
            maps.append(y)
        # Not in half precision, in which neighbouring colours would be steps apart.
        colours = self.last(y).float()
        if self.queries is not None:
            colours = colours + self.queries(maps[:-1], y).float()
        colours = F.interpolate(colours, scale_factor=2.0, mode="bilinear")
        return x + colours if self.adds else colours


class _Up(nn.Module):
    """Double the side, join the skip, and convolve twice."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_normed(in_channels + skip_channels, out_channels),
            *_normed(out_channels, out_channels),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map `(N, in_channels, h, w)` and a skip of twice the side to the size of the skip."""
        enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y: Tensor = self.convolutions(torch.cat((enlarged, skip), dim=1))
        return y


def _normed(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
