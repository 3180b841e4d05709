"""The PatchGAN discriminator of pix2pix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorgan.networks.normalisation import NormName, norm_layer


def most_layers(image_size: int) -> int:
    """Return the largest `n_layers` that leaves a patch: the last two layers take a pixel each."""
    return (image_size // 3).bit_length() - 1


class PatchGAN(nn.Module):
    """Say of each patch of a picture whether it looks real, given the input it belongs to.

    Condition `(N, C1, H, W)` and picture `(N, C2, H, W)`, C1 + C2 = `in_channels`, to logits
    `(N, 1, h, w)`: 30x30 at 256 px with three layers.

    Args:
        in_channels: channels of condition and picture together.
        ndf: channels of the first layer.
        n_layers: strided layers; 1, 2, 3, 4 see patches of 16, 34, 70, 142 pixels.
        norm: `batch`, `instance` or `none`.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks",
    section 6.1.2.
    """

    def __init__(
        self, in_channels: int, ndf: int = 64, n_layers: int = 3, norm: NormName = "batch"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, ndf, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        before = ndf
        for i in range(1, n_layers + 1):
            width = ndf * min(2**i, 8)
            stride = 2 if i < n_layers else 1
            normed, bias = norm_layer(norm, width)
            layers += [
                nn.Conv2d(before, width, 4, stride=stride, padding=1, bias=bias),
                *normed,
                nn.LeakyReLU(0.2, inplace=True),
            ]
            before = width
        layers.append(nn.Conv2d(before, 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, condition: Tensor, picture: Tensor) -> Tensor:
        """Return logits `(N, 1, h, w)`, above 0 where a patch looks real."""
        logits: Tensor = self.layers(torch.cat((condition, picture), dim=1))
        return logits
