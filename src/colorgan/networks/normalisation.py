"""The normalisation that both networks share."""

from __future__ import annotations

from typing import Literal

from torch import nn

NormName = Literal["batch", "instance", "none"]


def norm_layer(name: NormName, channels: int) -> tuple[list[nn.Module], bool]:
    """Return the layers of a normalisation, and whether the convolution before it needs a bias.

    Batch norm has a bias of its own; instance norm, as in pix2pix's code, has no parameters.
    """
    if name == "batch":
        return [nn.BatchNorm2d(channels)], False
    return ([nn.InstanceNorm2d(channels)] if name == "instance" else []), True
