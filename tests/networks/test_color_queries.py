"""Colour queries: what they compute, beside a plain form of it made of torch's own layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorgan.networks.color_queries import DIM, HEADS, ColorQueries

CHANNELS = (16, 8, 4)
N_QUERIES = 5


@pytest.fixture
def queries() -> ColorQueries:
    torch.manual_seed(0)
    queries = ColorQueries(N_QUERIES, CHANNELS, 2)
    nn.init.normal_(queries.queries)
    for name, parameter in queries.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    return queries


def maps_of(n: int, seed: int = 1) -> tuple[list[Tensor], Tensor]:
    """Two maps that are looked at and a last one, of `n` photos."""
    generator = torch.Generator().manual_seed(seed)
    sides = ((2, 3), (4, 6), (8, 12))
    *seen, last = (
        torch.randn(n, channels, *side, generator=generator)
        for channels, side in zip(CHANNELS, sides, strict=True)
    )
    return seen, last


def attention(own: nn.Module, queries: Tensor, memory: Tensor) -> Tensor:
    """What torch's layer makes of it with the same weights."""
    state = own.state_dict()
    layer = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    layer.load_state_dict({
        f"in_proj_{kind}": torch.cat((state[f"query.{kind}"], state[f"key_value.{kind}"]))
        for kind in ("weight", "bias")
    } | {f"out_proj.{kind}": state[f"out.{kind}"] for kind in ("weight", "bias")})  # fmt: skip
    seen: Tensor = layer(queries, memory, memory)[0]
    return seen


def as_published(queries: ColorQueries, seen: list[Tensor], last: Tensor) -> Tensor:
    """A map for each query, the product with the last map, and a convolution over these."""
    x = queries.queries.expand(len(last), -1, -1)
    for layer, map_ in zip(queries.layers, seen, strict=True):
        memory = layer.memory(map_.reshape(*map_.shape[:2], -1).permute(0, 2, 1))
        x = x + attention(layer.cross_attention, layer.cross_norm(x), memory)
        x = x + attention(layer.self_attention, layer.self_norm(x), layer.self_norm(x))
        x = x + layer.mlp(x)
    maps = torch.einsum("nqc,nchw->nqhw", queries.to_channels(x), last)
    return F.conv2d(maps, queries.mix.weight[:, :, None, None])


def test_it_is_what_is_published(queries: ColorQueries) -> None:
    seen, last = maps_of(2)
    colours = queries(seen, last)
    assert colours.shape == (2, 2, 8, 12)
    assert colours.std() > 0.1
    torch.testing.assert_close(colours, as_published(queries, seen, last))
