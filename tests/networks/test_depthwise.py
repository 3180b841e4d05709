"""Quick depthwise convolutions do what those in their place did."""

from __future__ import annotations

import pytest
import torch

from colorgan.networks.backbones import create_backbone
from colorgan.networks.layers import DepthwiseConv2d, pad_evenly, quicken_depthwise


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "mobilenetv2_100"])
def test_a_backbone_gives_the_same_maps_quickly_and_evenly_padded(backbone: str) -> None:
    torch.manual_seed(0)
    network = create_backbone(backbone, features_only=True, in_chans=1).eval()
    names = list(network.state_dict())
    x = torch.randn(2, 1, 48, 80)
    before = network(x)
    quicken_depthwise(network)
    assert any(isinstance(module, DepthwiseConv2d) for module in network.modules())
    assert list(network.state_dict()) == names
    for then, now in zip(before, network(x), strict=True):
        torch.testing.assert_close(now, then, rtol=1e-4, atol=1e-4)

    x = torch.randn(2, 1, 64, 96)
    before = network(x)
    pad_evenly(network)
    assert not any(type(m).__name__ == "Conv2dSame" for m in network.modules())
    assert not any(getattr(m, "same_padding", False) for m in network.modules())
    for then, now in zip(before, network(x), strict=True):
        torch.testing.assert_close(now, then, rtol=1e-4, atol=1e-4)
