"""The 4x4 convolutions of stride 2 that a U-Net is made of, fast on a CPU also where it is deep.

Near the bottom a layer has millions of weights and a few pixels. The CPU's convolutions are made
for the opposite and spend 2 to 5 times as long there as one matrix product over all photos, which
is the same sum. The values differ in the last bits alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_PIXELS = 512
"""Pixels of a batch, on the smaller side of a layer, up to which the matrix product is faster
(measured on two cores with 512 and 1024 channels, in float32 and bfloat16)."""


class Halving(nn.Conv2d):
    """Convolution 4x4, stride 2, padding 1: `(N, C, H, W)` to `(N, out, H / 2, W / 2)`."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        n, _, h, w = x.shape
        if not _as_product(x, n * (h // 2) * (w // 2)):
            return super().forward(x)
        patches = F.unfold(x, 4, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
        y = patches @ self.weight.flatten(1).t()
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.view(n, h // 2, w // 2, -1).permute(0, 3, 1, 2)


class Doubling(nn.ConvTranspose2d):
    """Transposed convolution 4x4, stride 2, padding 1: `(N, C, H, W)` to `(N, out, 2 H, 2 W)`."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve; `output_size` is that of the base class, and follows from x."""
        n, _, h, w = x.shape
        if not _as_product(x, n * h * w):
            return super().forward(x, output_size)
        patches = x.permute(0, 2, 3, 1).flatten(0, 2) @ self.weight.flatten(1)
        y = F.fold(patches.view(n, h * w, -1).transpose(1, 2), (2 * h, 2 * w), 4, 1, 1, 2)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype).view(-1, 1, 1)
        layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
        return y.contiguous(memory_format=layout)


def _as_product(x: Tensor, pixels: int) -> bool:
    """Say whether a matrix product is faster; a traced network must not depend on the sizes."""
    traced = torch.compiler.is_exporting()
    return x.device.type == "cpu" and pixels <= MOST_PIXELS and not traced


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def channels_last(x: Tensor) -> Tensor:
    """Return `x` channels last, and so that a convolution sees it.

    With one channel both layouts are the same numbers in the same places, and torch takes the other
    one: all that follows would be slower.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, h, w = x.shape
    return x.as_strided((n, 1, h, w), (h * w, 1, w, 1)) if channels == 1 else x


def same_layout_backwards(x: Tensor) -> Tensor:
    """Let the gradient of `x` have the layout of `x`; return `x`.

    Behind a concatenation it is a slice of a larger one, which batch norm's backward on a CPU
    walks through ten times as slowly.
    """
    if x.requires_grad and x.device.type == "cpu" and _is_channels_last(x):
        x.register_hook(_to_channels_last)  # type: ignore[no-untyped-call]
    return x


def _to_channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)
