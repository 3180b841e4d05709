"""A U-Net generator with an ImageNet-pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorgan.errors import ParamsError
from colorgan.networks.backbones import create_backbone
from colorgan.networks.layers import quicken_depthwise

OF_COLORS = ("last.weight", "last.bias")
"""Parameters whose first dimension is the channels of the output."""
OF_HINTS = "hints."
"""Beginning of the names of the parameters that a network without hints lacks."""
HINT_WIDTHS = (128, 128, 64, 32)


class EncoderUNet(nn.Module):
    """U-Net whose encoder is a timm backbone; its weights are random until they are loaded.

    Inputs are in [-1, 1], all channels the same gray; outputs are not clamped to [-1, 1]. H and W
    are multiples of 32. Colours are predicted at half the side (with 3 blocks at a quarter) and
    enlarged: JPEG stores them no sharper. If input and output have the same channels (RGB), the
    output layer predicts a residual to gray, so that the output is as sharp as the input.

    The 3 or 4 decoder blocks have 8, 4, 2 and 1 times `ngf` channels. `encoder` is timm's name, and
    with `hints` the network takes colour hints (`HintBranch`). ColorganError if timm has no such
    backbone, ParamsError if it does not halve the side five times.

    Source: Ronneberger et al., "U-Net" (2015); Iglovikov and Shvets, "TernausNet" (2018); Tan and
    Le, "EfficientNet" (2019).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ngf: int = 32,
        encoder: str = "tf_efficientnet_lite0",
        decoder_blocks: int = 4,
        hints: bool = False,
    ) -> None:
        super().__init__()
        self.multiple = 32
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
        before = deepest = skips.pop()
        self.up = nn.ModuleList()
        widths = [factor * ngf for factor in (8, 4, 2, 1)[:decoder_blocks]]
        self.enlarge = 2.0 ** (5 - decoder_blocks)
        for width in widths:
            self.up.append(_Up(before, skips.pop(), width))
            before = width
        self.last = nn.Conv2d(before, out_channels, 1)
        self.hints = HintBranch([deepest, *widths[:3]]) if hints else None
        self.frozen = False

    def freeze_encoder(self) -> None:
        """Keep the weights of the backbone, and the statistics of all batch norm, in training."""
        self.frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> EncoderUNet:
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor, hints: Tensor | None = None) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H, W)`.

        `hints` `(N, 3, H, W)` are ab / 110 and a mask of the pixels whose colour is given.
        """
        return self._decode(x, self.encoder(x[:, :1]), hints)

    def with_features(self, x: Tensor, hints: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the output, and the encoder's maps at 1/8 and 1/16 as one `(N, C, H/8, W/8)`."""
        maps = self.encoder(x[:, :1])
        features = torch.cat((maps[2], F.interpolate(maps[3], scale_factor=2.0)), dim=1)
        return self._decode(x, maps, hints), features

    def _decode(self, x: Tensor, encoded: Sequence[Tensor], hints: Tensor | None) -> Tensor:
        *skips, y = encoded
        hinted = []
        if self.hints is not None:
            if hints is None:
                hints = x.new_zeros(len(x), 3, *x.shape[2:])
            deepest, *hinted = self.hints(hints)
            y = y + deepest
        for up in self.up:
            y = up(y, skips.pop())
            if hinted:
                y = y + hinted.pop(0)
        # In half precision neighbouring colours would be visible steps apart.
        colours = self.last(y).float()
        colours = F.interpolate(colours, scale_factor=self.enlarge, mode="bilinear")
        return x + colours if self.adds else colours


class _Up(nn.Module):
    """Decoder block: double the side, concatenate the skip, convolve twice."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_normed(in_channels + skip_channels, out_channels),
            *_normed(out_channels, out_channels),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map `(N, in_channels, h, w)` and a skip `(N, C, 2h, 2w)` to the side of the skip."""
        enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y: Tensor = self.convolutions(torch.cat((enlarged, skip), dim=1))
        return y


def _normed(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)


class HintBranch(nn.Module):
    """Convolutions over hints, whose last layers begin at zero.

    They are added to the decoder's feature maps at 1/32, 1/16, 1/8 and 1/4 of the side, which have
    `channels`. Until they are trained, hints change nothing, and weights without them fit.

    Source: the local hints of Zhang et al., "Real-Time User-Guided Image Colorization with Learned
    Deep Priors" (2017).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        deep, middle, fine, finest = HINT_WIDTHS
        self.convolutions = nn.ModuleList(
            [
                nn.Sequential(_convolution(3, finest), _convolution(finest, finest)),
                _convolution(finest, fine, stride=2),
                _convolution(fine, middle, stride=2),
                nn.Sequential(_convolution(middle, deep, stride=2), _convolution(deep, deep)),
            ]
        )
        self.last = nn.ModuleList(map(_zero_convolution, HINT_WIDTHS, channels))

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
