"""The U-Net generator of pix2pix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorgan.networks.layers import DownConv, NormName, UpConv, norm_layer, same_layout_backwards

MAX_DEPTH = 8
"""Of the paper, whose 256 px become one pixel; larger images have this depth too."""


class UNet(nn.Module):
    """U-Net with 4x4 convolutions of stride 2 and concatenated skips.

    Inputs and outputs are in [-1, 1]; H and W are multiples of `multiple`, 2 ** depth.

    The first layer has `ngf` channels, deeper ones up to 8 times as many. `image_size`, the side of
    the training photos, is a multiple of 32 and decides the depth: 64, 128 and 256 px become one
    pixel, as in the paper; others are halved as often as possible. Dropout is in the decoder blocks
    next to the innermost, three at most; `norm` in all but the first, innermost and last layer.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017),
    section 6.1.1, with the layers of the authors' code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ngf: int = 64,
        image_size: int = 256,
        dropout: float = 0.5,
        norm: NormName = "batch",
    ) -> None:
        super().__init__()
        # How many times it can be halved.
        depth = min((image_size & -image_size).bit_length() - 1, MAX_DEPTH)
        self.multiple = 2**depth
        widths = [ngf * min(2**i, 8) for i in range(depth)]

        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            inner = 0 < i < depth - 1
            before = widths[i - 1] if i else in_channels
            self.down.append(_down(before, width, norm if inner else None, activate=i > 0))

        self.up = nn.ModuleList()
        for i in reversed(range(1, depth)):
            # The innermost block has no skip; the others get twice the channels.
            before = widths[i] if i == depth - 1 else 2 * widths[i]
            dropped = dropout if 4 <= i < depth - 1 else 0.0
            self.up.append(_up(before, widths[i - 1], norm, dropped))
        self.last = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * widths[0], out_channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = torch.cat((skips.pop(), same_layout_backwards(up(x))), dim=1)
        y: Tensor = self.last(x)
        return y


def _down(
    in_channels: int, out_channels: int, norm: NormName | None, *, activate: bool
) -> nn.Sequential:
    """Halve the side: (LeakyReLU) conv (norm)."""
    # Not in place, because the input is also a skip.
    layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if activate else []
    after, bias = norm_layer(norm, out_channels) if norm else ([], False)
    layers.append(DownConv(in_channels, out_channels, bias))
    return nn.Sequential(*layers, *after)


def _up(in_channels: int, out_channels: int, norm: NormName, dropout: float) -> nn.Sequential:
    """Double the side: ReLU, transposed conv, norm, (dropout)."""
    after, bias = norm_layer(norm, out_channels)
    last = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.ReLU(), UpConv(in_channels, out_channels, bias), *after, *last)
