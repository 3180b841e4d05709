"""The PatchGAN: the reference's size, its 70x70 patches, its initial weights."""

from __future__ import annotations

import pytest
import torch

from colorgan.networks import PatchGAN
from colorgan.networks.patchgan import most_layers


@pytest.mark.parametrize(
    ("in_channels", "count"),
    # 3: L and ab. 6: gray three times, and RGB.
    [(3, 2_765_633), (6, 2_768_705)],
)
def test_it_has_as_many_parameters_as_the_reference(in_channels: int, count: int) -> None:
    network = PatchGAN(in_channels)
    assert sum(weight.numel() for weight in network.parameters()) == count


@pytest.mark.parametrize(("n_layers", "patch"), [(1, 16), (3, 70)])
def test_a_logit_sees_a_patch(n_layers: int, patch: int) -> None:
    """The pixels that have a gradient from the middle logit."""
    torch.manual_seed(0)
    side = 4 * patch
    network = PatchGAN(3, ndf=2, n_layers=n_layers).double().eval()
    picture = torch.randn(1, 2, side, side, dtype=torch.double, requires_grad=True)
    logits = network(torch.zeros(1, 1, side, side, dtype=torch.double), picture)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().sum((0, 1)) > 0
    assert seen.any(0).sum() == seen.any(1).sum() == patch


@pytest.mark.parametrize("side", [32, 96, 256])
def test_the_most_layers_leave_a_patch_and_one_more_leaves_none(side: int) -> None:
    photos = torch.randn(1, 1, side, side), torch.randn(1, 2, side, side)
    most = most_layers(side)
    assert PatchGAN(3, ndf=1, n_layers=most).eval()(*photos).numel() >= 1
    with pytest.raises(RuntimeError):
        PatchGAN(3, ndf=1, n_layers=most + 1).eval()(*photos)
