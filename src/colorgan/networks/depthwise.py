"""Depthwise convolutions that a CPU is fast at, also under autocast.

In bfloat16 a CPU's depthwise convolutions are quick with 3x3 kernels of stride 1 alone; the others
take 3 to 20 times as long as in float32 (measured on two cores with AVX512-BF16). Padding on one
side alone, as TensorFlow's networks do it, costs a copy of the whole map each way; a kernel with a
row and a column of zeros before it is the same sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that stays in float32 on a CPU; `(N, C, H, W)` to `(N, C, h, w)`.

    Takes over the weights of another one, and its place.

    Args:
        of: the convolution.
    """

    def __init__(self, of: nn.Conv2d) -> None:
        # On no device: its weights are those of the other.
        super().__init__(
            of.in_channels,
            of.out_channels,
            of.kernel_size,  # type: ignore[arg-type]
            of.stride,  # type: ignore[arg-type]
            of.padding,  # type: ignore[arg-type]
            groups=of.groups,
            bias=of.bias is not None,
            device="meta",
        )
        self.weight, self.bias = of.weight, of.bias
        self._same = type(of).__name__ == "Conv2dSame"

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; the output has the precision of the input."""
        if x.device.type != "cpu":
            return self._padded(x)
        with torch.autocast("cpu", enabled=False):
            return self._padded(x.float()).to(x.dtype)

    def _padded(self, x: Tensor) -> Tensor:
        if not self._same:
            return super().forward(x)
        (size, _), (stride, _) = self.kernel_size, self.stride
        if any(side % stride for side in x.shape[2:]):
            return F.conv2d(
                _padded_same(x, size, stride), self.weight, self.bias, stride, groups=self.groups
            )
        # "Same" pads (k - s) // 2 before and the rest after. Padding and kernel grow alike before.
        before = (size - stride) // 2
        after = size - stride - before
        zeros = after - before
        weight = F.pad(self.weight, (zeros, 0, zeros, 0))
        return F.conv2d(x, weight, self.bias, self.stride, after, groups=self.groups)


def _padded_same(x: Tensor, size: int, stride: int) -> Tensor:
    """Pad so that a side of s comes out as s / stride, rounded up."""
    padding: list[int] = []
    for side in reversed(x.shape[2:]):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)


def quicken_depthwise(network: nn.Module) -> None:
    """Put a `DepthwiseConv2d` in the place of each slow one; names of weights stay as they are."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            quick = module.kernel_size == (3, 3) and module.stride == (1, 1)
            if not quick and module.dilation == (1, 1):
                network.set_submodule(name, DepthwiseConv2d(module))


def pad_evenly(network: nn.Module) -> None:
    """Put plain convolutions, padded alike on all sides, in the place of those padded on one side.

    The same sums, for sides that are multiples of what the network takes; with nothing in them that
    depends on the size, which is what a graph for other programs is made of.
    """
    for name, module in list(network.named_modules()):
        if type(module).__name__ == "Conv2dSame" or getattr(module, "_same", False):
            assert isinstance(module, nn.Conv2d)
            network.set_submodule(name, _padded_evenly(module))


def _padded_evenly(of: nn.Conv2d) -> nn.Conv2d:
    (size, _), (stride, _) = of.kernel_size, of.stride
    before = (size - stride) // 2
    after = size - stride - before
    zeros = after - before
    convolution = nn.Conv2d(
        of.in_channels, of.out_channels, size + zeros, stride, after,
        groups=of.groups, bias=of.bias is not None, device=of.weight.device,
    )  # fmt: skip
    with torch.no_grad():
        convolution.weight.copy_(F.pad(of.weight, (zeros, 0, zeros, 0)))
        if of.bias is not None and convolution.bias is not None:
            convolution.bias.copy_(of.bias)
    return convolution
