"""The U-Net on a pretrained backbone, and the weights of the backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from colorgan.errors import ColorganError
from colorgan.networks import EncoderUNet
from colorgan.networks.backbones import (
    create_backbone,
    load_backbone,
    packaged_weights,
    weights_of,
)

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module", params=[0, 8], ids=["convolutions", "queries"])
def network(request: pytest.FixtureRequest) -> EncoderUNet:
    torch.manual_seed(0)
    network = EncoderUNet(1, 2, ngf=8, color_queries=request.param)
    load_backbone(network.encoder, packaged_weights("efficientnet_lite0"), "the package")
    return network.eval()


def test_it_gives_a_colour_a_pixel_at_any_multiple_of_32(network: EncoderUNet) -> None:
    for height, width in ((32, 32), (64, 128), (96, 32)):
        assert network(torch.zeros(2, 1, height, width)).shape == (2, 2, height, width)


def test_each_layer_of_the_backbone_gets_its_weights(network: EncoderUNet) -> None:
    weights = packaged_weights("efficientnet_lite0")
    for name, tensor in network.encoder.state_dict().items():
        if name != "conv_stem.weight":
            assert torch.equal(tensor, weights[name]), name
    stem = network.encoder.state_dict()["conv_stem.weight"]
    assert torch.allclose(stem, weights["conv_stem.weight"].sum(1, keepdim=True))


def test_rgb_keeps_the_sharpness_of_its_input() -> None:
    torch.manual_seed(0)
    network = EncoderUNet(3, 3, ngf=8).eval()
    gray = (torch.rand(1, 1, 64, 64) * 2 - 1).expand(-1, 3, -1, -1)
    with torch.no_grad():
        added = network(gray) - gray
    halves = torch.nn.functional.avg_pool2d(added, 2)
    enlarged = torch.nn.functional.interpolate(halves, scale_factor=2, mode="bilinear")
    assert (added - enlarged).abs().mean() < 0.1 * added.std()


def test_every_layer_learns() -> None:
    network = EncoderUNet(1, 2, ngf=8, color_queries=8)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters() if p.ndim == 4)


def test_weights_from_a_file(tmp_path: Path) -> None:
    weights = packaged_weights("efficientnet_lite0")
    save_file(weights, tmp_path / "lite0.safetensors")
    read = weights_of(str(tmp_path / "lite0.safetensors"), LITE)
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_weights_of_another_network_are_refused() -> None:
    backbone = create_backbone(LITE, features_only=True, in_chans=1)
    with pytest.raises(
        ColorganError,
        match=r"not hold the weights of this backbone: .* should be \(",
    ):
        load_backbone(backbone, packaged_weights("efficientnet_lite2"), "efficientnet_lite2")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("resnet", "encoder_weights is 'resnet', which is no file here; it should be none, imag"),
        ("broken.safetensors", "broken.safetensors is not a safetensors file"),
    ],
)
def test_weights_that_are_not_there(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.safetensors").write_bytes(b"no")
    with pytest.raises(ColorganError, match=said):
        weights_of(source, LITE)


def test_a_backbone_that_does_not_fit() -> None:
    with pytest.raises(ColorganError, match="has no network 'lite9' that can be used so"):
        EncoderUNet(1, 2, encoder="lite9")
    with pytest.raises(ColorganError, match="'convnext_atto', whose feature maps are at 1/4, 1/8,"):
        EncoderUNet(1, 2, encoder="convnext_atto")
