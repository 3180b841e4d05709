"""Normalisation and initial weights of the pix2pix networks (U-Net and PatchGAN).

Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017).
"""

from __future__ import annotations

from typing import Literal

from torch import nn

NormName = Literal["batch", "instance", "none"]


def norm_layer(name: NormName, channels: int) -> tuple[list[nn.Module], bool]:
    """Return the normalisation layers, and whether the convolution before them needs a bias.

    Batch norm has its own bias; instance norm has no parameters, as in pix2pix's code.
    """
    if name == "batch":
        return [nn.BatchNorm2d(channels)], False
    return ([nn.InstanceNorm2d(channels)] if name == "instance" else []), True


def initialise(network: nn.Module, std: float = 0.02) -> None:
    """Draw weights from N(0, std) and batch norm weights from N(1, std); set biases to 0.

    Source: section 6.2 of the paper.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)
            nn.init.zeros_(module.bias)
