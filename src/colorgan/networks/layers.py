"""Layers that the networks share: pix2pix's blocks, and convolutions that are fast on a CPU.

Source of the blocks: Isola et al., "Image-to-Image Translation with Conditional Adversarial
Networks" (2017).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["batch", "instance", "none"]
MOST_PIXELS = 512
"""Pixels of a batch, on the smaller side of a layer, up to which a matrix product is faster than
the convolution (measured with 512 and 1024 channels)."""


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


class DownConv(nn.Conv2d):
    """Convolution 4x4, stride 2, padding 1: `(N, C, H, W)` to `(N, out, H / 2, W / 2)`.

    The innermost layers of a U-Net have millions of weights and few pixels. On a CPU they are
    computed as one matrix product over the batch: the same sum but for the last bits, in a half to
    a fifth of the time. That makes a training step of the U-Net at 128 px 5% to 15% faster.
    """

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


class DepthwiseConv2d(nn.Conv2d):
    """Replaces a depthwise Conv2d of timm, reusing its weights; computes in float32 on a CPU.

    In bfloat16 a CPU's depthwise convolutions are fast only with 3x3 kernels of stride 1; others
    take 3 to 20 times as long as in float32 (two cores with AVX512-BF16). TensorFlow's "same"
    padding pads one side more, which costs a copy of the feature map in both passes; a kernel with
    a row and a column of zeros before it gives the same sum with equal padding.
    """

    def __init__(self, of: nn.Conv2d) -> None:
        # On the meta device, because the weights are those of the other.
        super().__init__(
            of.in_channels, of.out_channels,
            of.kernel_size, of.stride, of.padding,  # type: ignore[arg-type]
            groups=of.groups, bias=of.bias is not None, device="meta",
        )  # fmt: skip
        self.weight, self.bias = of.weight, of.bias
        self.same_padding = _pads_same(of)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C, h, w)` of the same dtype."""
        if x.device.type != "cpu":
            return self._convolve(x)
        with torch.autocast("cpu", enabled=False):
            return self._convolve(x.float()).to(x.dtype)

    def _convolve(self, x: Tensor) -> Tensor:
        if not self.same_padding:
            return super().forward(x)
        if any(side % self.stride[0] for side in x.shape[2:]):
            from timm.layers import pad_same  # takes seconds

            x = pad_same(x, self.kernel_size, self.stride)
            return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        weight, padding = _with_equal_padding(self)
        return F.conv2d(x, weight, self.bias, self.stride, padding, groups=self.groups)


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
        if isinstance(module, nn.Conv2d) and _pads_same(module):
            weight, padding = _with_equal_padding(module)
            plain = nn.Conv2d(
                module.in_channels, module.out_channels, weight.shape[-1],
                module.stride, padding,  # type: ignore[arg-type]
                groups=module.groups, device="meta",
            )  # fmt: skip
            plain.weight, plain.bias = nn.Parameter(weight.detach()), module.bias
            network.set_submodule(name, plain)


def _pads_same(convolution: nn.Conv2d) -> bool:
    """Whether it pads as TensorFlow does: timm's class, or what has replaced it."""
    timms = type(convolution).__name__ == "Conv2dSame"
    return timms or getattr(convolution, "same_padding", False)


def _with_equal_padding(convolution: nn.Conv2d) -> tuple[Tensor, int]:
    """Return a larger kernel and the equal padding that replace "same" padding."""
    size, stride = convolution.kernel_size[0], convolution.stride[0]
    before = (size - stride) // 2
    after = size - stride - before
    return F.pad(convolution.weight, (after - before, 0, after - before, 0)), after
