"""Depthwise convolutions of timm's backbones that are fast on a CPU, and can be exported.

In bfloat16 a CPU's depthwise convolutions are fast only with 3x3 kernels of stride 1; the others
take 3 to 20 times as long as in float32 (measured on two cores with AVX512-BF16). TensorFlow's
"same" padding pads one side more, which costs a copy of the feature map in both passes; a kernel
with a row and a column of zeros before it gives the same sum with equal padding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """Replaces a depthwise Conv2d, reusing its weights; computes in float32 on a CPU."""

    def __init__(self, of: nn.Conv2d) -> None:
        # On the meta device, because the weights are those of the other.
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
        self.same_padding = type(of).__name__ == "Conv2dSame"

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C, h, w)` of the same dtype."""
        if x.device.type != "cpu":
            return self._convolve(x)
        with torch.autocast("cpu", enabled=False):
            return self._convolve(x.float()).to(x.dtype)

    def _convolve(self, x: Tensor) -> Tensor:
        if not self.same_padding:
            return super().forward(x)
        (size, _), (stride, _) = self.kernel_size, self.stride
        if any(side % stride for side in x.shape[2:]):
            x = _pad_same(x, size, stride)
            return F.conv2d(x, self.weight, self.bias, stride, groups=self.groups)
        zeros, padding = _equal_padding(size, stride)
        weight = F.pad(self.weight, (zeros, 0, zeros, 0))
        return F.conv2d(x, weight, self.bias, self.stride, padding, groups=self.groups)


def _equal_padding(size: int, stride: int) -> tuple[int, int]:
    """Return the rows of zeros before a kernel, and the padding, that replace "same" padding."""
    before = (size - stride) // 2
    after = size - stride - before
    return after - before, after


def _pad_same(x: Tensor, size: int, stride: int) -> Tensor:
    """Pad so that a side becomes side / stride, rounded up."""
    padding: list[int] = []
    for side in reversed(x.shape[2:]):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)


def quicken_depthwise(network: nn.Module) -> None:
    """Replace the slow depthwise convolutions; names and values of weights stay the same."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            fast = module.kernel_size == (3, 3) and module.stride == (1, 1)
            if not fast and module.dilation == (1, 1):
                network.set_submodule(name, DepthwiseConv2d(module))


def pad_evenly(network: nn.Module) -> None:
    """Replace convolutions with "same" padding by plain ones with equal padding, for export.

    For sides that are multiples of `multiple` the sums are the same, and the graph does not depend
    on the size.
    """
    for name, module in list(network.named_modules()):
        if type(module).__name__ == "Conv2dSame" or getattr(module, "same_padding", False):
            assert isinstance(module, nn.Conv2d)
            network.set_submodule(name, _with_equal_padding(module))


def _with_equal_padding(of: nn.Conv2d) -> nn.Conv2d:
    (size, _), (stride, _) = of.kernel_size, of.stride
    zeros, padding = _equal_padding(size, stride)
    convolution = nn.Conv2d(
        of.in_channels, of.out_channels, size + zeros, stride, padding,
        groups=of.groups, device="meta",
    )  # fmt: skip
    convolution.weight = nn.Parameter(F.pad(of.weight.detach(), (zeros, 0, zeros, 0)))
    convolution.bias = of.bias
    return convolution
