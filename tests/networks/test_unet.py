"""The U-Net: the reference's size, shapes, dropout, initial weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from colorgan.networks import UNet, initialise, layers
from colorgan.networks.layers import DownConv, UpConv


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("image_size", "count"),
    # pix2pix's unet_256 and unet_128, from L to ab.
    [(256, 54_409_858), (128, 41_824_898)],
)
def test_it_has_as_many_parameters_as_the_reference(image_size: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(UNet(1, 2, ngf=64, image_size=image_size)) == count


def test_output_size_and_gradients() -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, ngf=2, image_size=64)
    initialise(network)
    output = network(torch.randn(4, 1, 64, 192))
    assert output.shape == (4, 2, 64, 192)
    assert output.abs().max() <= 1
    output.square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("image_size", "dropouts"), [(64, 1), (96, 0), (256, 3)])
def test_dropout_is_in_the_innermost_full_width_blocks(image_size: int, dropouts: int) -> None:
    """Three at 256 px, beside the innermost block, as in the reference's code; 0 is none."""
    with torch.device("meta"):
        network = UNet(1, 2, ngf=1, image_size=image_size, dropout=0.25)
    places = [any(isinstance(m, nn.Dropout) for m in block.modules()) for block in network.up]
    assert places == [False] + [True] * dropouts + [False] * (len(places) - 1 - dropouts)
    assert all(m.p == 0.25 for m in network.modules() if isinstance(m, nn.Dropout))


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_without_batch_norm_a_photo_does_not_depend_on_its_batch(norm: str) -> None:
    torch.manual_seed(0)
    network = UNet(1, 2, ngf=2, image_size=64, dropout=0.0, norm=norm)  # type: ignore[arg-type]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    initialise(network, 0.2)
    photos = torch.randn(4, 1, 64, 64)
    together = network(photos)
    assert together.abs().mean() > 0.01
    for photo, colours in zip(photos, together, strict=True):
        torch.testing.assert_close(network(photo[None])[0], colours)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [DownConv, UpConv])
@pytest.mark.parametrize("side", [2, 6])
def test_a_matrix_product_is_the_same_convolution(monkeypatch, kind, layout, side) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, bias=side == 2).double()
    found = []
    for most_pixels in (0, 512):
        monkeypatch.setattr(layers, "MOST_PIXELS", most_pixels)
        x = torch.randn(2, 3, side, side, dtype=torch.double, generator=torch.manual_seed(1))
        x = x.contiguous(memory_format=layout).requires_grad_()
        layer.zero_grad()
        y = layer(x)
        y.square().sum().backward()
        found.append((y, x.grad, *(weight.grad.clone() for weight in layer.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    names = [type(y[0].grad_fn).__name__ for y in found]
    assert "Convolution" in names[0]
    assert "Convolution" not in names[1]
