"""The projected discriminator: what trains, and what it learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from colorgan.networks import ProjectedDiscriminator
from colorgan.spaces import get_space

SIDE = 64


def discriminator(space: str = "lab") -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(get_space(space).decode, ndf=8)


def photos(space: str = "lab", n: int = 4, side: int = SIDE) -> tuple[Tensor, Tensor]:
    kind = get_space(space)
    random = torch.Generator().manual_seed(1)
    input = torch.randint(0, 256, (n, side, side), generator=random, dtype=torch.uint8)
    target = torch.randint(
        0, 256, (n, side, side, kind.out_channels), generator=random, dtype=torch.uint8
    )
    return kind.encode(input, target)


@pytest.mark.parametrize(("space", "side", "places"), [("rgb", 32, 4), ("lab", 64, 8)])
def test_it_judges_places_at_four_scales(space: str, side: int, places: int) -> None:
    logits = discriminator(space)(*photos(space, side=side))
    assert logits.shape == (4, 4, places, places)
    assert logits.dtype == torch.float32


def test_only_the_judges_learn() -> None:
    """And every pixel of the picture gets a gradient."""
    network = discriminator().train()
    learning = {id(parameter) for parameter in network.parameters()}
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"judges"}
    fixed = [*network._features[0].parameters(), *network._features[0].buffers()]
    assert not learning & {id(x) for x in fixed}
    fixed += [x for name, x in network.state_dict().items() if "over" in name]
    before = [x.clone() for x in fixed]
    input, target = photos()
    picture = (target / 4).requires_grad_()
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    network(input, picture).sum().backward()
    optimizer.step()
    assert all(map(torch.equal, before, fixed))
    assert picture.grad is not None
    assert (picture.grad.abs().sum(1) > 0).float().mean() > 0.95
