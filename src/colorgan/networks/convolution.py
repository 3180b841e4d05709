"""The 4x4 convolutions of stride 2 of a U-Net, computed as matrix products where that is faster.

The innermost layers have millions of weights and few pixels. There the CPU's convolutions take 2
to 5 times as long as one matrix product over the whole batch, which is the same sum but for the
last bits. A whole training step at 128 px in bfloat16 gets 5% (ngf 32) to 11% (ngf 64) faster, in
float32 13% to 15% (batch of 16, one thread).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_PIXELS = 512
"""Pixels of a batch, on the smaller side of a layer, up to which the product is faster (measured
with 512 and 1024 channels)."""


class DownConv(nn.Conv2d):
    """Convolution 4x4, stride 2, padding 1: `(N, C, H, W)` to `(N, out, H / 2, W / 2)`."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        n, _, h, w = x.shape
        if not _is_product_faster(x, n * (h // 2) * (w // 2)):
            return super().forward(x)
        patches = F.unfold(x, 4, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
        y = patches @ self.weight.flatten(1).t()
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.view(n, h // 2, w // 2, -1).permute(0, 3, 1, 2)


class UpConv(nn.ConvTranspose2d):
    """Transposed convolution 4x4, stride 2, padding 1: `(N, C, H, W)` to `(N, out, 2 H, 2 W)`."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve; `output_size` is an argument of the base class, and not needed."""
        n, _, h, w = x.shape
        if not _is_product_faster(x, n * h * w):
            return super().forward(x, output_size)
        patches = x.permute(0, 2, 3, 1).flatten(0, 2) @ self.weight.flatten(1)
        y = F.fold(patches.view(n, h * w, -1).transpose(1, 2), (2 * h, 2 * w), 4, 1, 1, 2)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype).view(-1, 1, 1)
        layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
        return y.contiguous(memory_format=layout)


def _is_product_faster(x: Tensor, pixels: int) -> bool:
    """Whether to compute a matrix product; never in an exported network, which takes any size."""
    on_cpu = x.device.type == "cpu" and not torch.compiler.is_exporting()
    return on_cpu and pixels <= MOST_PIXELS


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def channels_last(x: Tensor) -> Tensor:
    """Return `x` in channels-last layout, with strides that a convolution recognises.

    With one channel both layouts are the same in memory, and torch would take the other one, which
    makes all later layers slower.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    n, channels, h, w = x.shape
    return x.as_strided((n, 1, h, w), (h * w, 1, w, 1)) if channels == 1 else x


def same_layout_backwards(x: Tensor) -> Tensor:
    """Return `x`; its gradient will be channels last if `x` is, on a CPU.

    Behind a concatenation the gradient is a slice of a larger one, with which the backward pass of
    batch norm takes ten times as long.
    """
    if x.requires_grad and x.device.type == "cpu" and _is_channels_last(x):
        x.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: gradient.contiguous(memory_format=torch.channels_last)
        )
    return x
