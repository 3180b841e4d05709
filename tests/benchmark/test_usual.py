"""The usual way of benchmarks/optimizations.py computes the same as this project's networks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from colorgan.networks import PatchGAN, UNet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import usual

    return usual


def same_weights(network: nn.Module, source: nn.Module) -> nn.Module:
    """Copy the weights over in the order of the layers."""
    values = source.state_dict().values()
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    return network


def test_the_networks_are_the_same(usual: ModuleType) -> None:
    torch.manual_seed(0)
    lightness, ab = torch.rand(3, 1, 64, 64) * 2 - 1, torch.rand(3, 2, 64, 64) * 2 - 1
    ours = UNet(1, 2, 4, 64, dropout=0.5)
    theirs = same_weights(usual.UnetGenerator(6, 4), ours)
    dropouts = [[m for m in net.modules() if isinstance(m, nn.Dropout)] for net in (ours, theirs)]
    assert [[m.p for m in found] for found in dropouts] == [[0.5], [0.5]]
    for dropout in (*dropouts[0], *dropouts[1]):
        # Its masks follow the layout in memory.
        dropout.p = 0.0
    for mode in (True, False):
        output = ours.train(mode)(lightness)
        torch.testing.assert_close(theirs.train(mode)(lightness), output)
    critic = PatchGAN(3, 4)
    plain = same_weights(usual.patch_discriminator(4), critic)
    torch.testing.assert_close(plain(torch.cat((lightness, ab), 1)), critic(lightness, ab))
