"""The PatchGAN discriminator of pix2pix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorgan.networks.layers import NormName, norm_layer


def most_layers(image_size: int) -> int:
    """Return the largest `n_layers` that an image size allows."""
    # The last two layers make the side one pixel smaller each.
    return (image_size // 3).bit_length() - 1


class PatchGAN(nn.Module):
    """Conditional discriminator that classifies patches of a picture as real or generated.

    `in_channels` are those of condition and picture together. The first layer has `ndf` channels,
    deeper ones up to 8 times as many; 1, 2, 3, 4 `n_layers` see patches of 16, 34, 70, 142 pixels.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017),
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
        """Map condition `(N, C1, H, W)` and picture `(N, C2, H, W)` to logits `(N, 1, h, w)`.

        A logit above 0 is real. At 256 px with three layers they are 30x30.
        """
        logits: Tensor = self.layers(torch.cat((condition, picture), dim=1))
        return logits
