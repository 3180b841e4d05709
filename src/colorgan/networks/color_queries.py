"""Colours that are asked for of the whole picture, beside those that a convolution sees nearby."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

DIM = 128
HEADS = 4


class ColorQueries(nn.Module):
    """Learnt queries look at the maps of the way up, and then mix the channels of the last one.

    Maps of the way up, coarse to fine, to channels `(N, n_queries, h, w)` of the size of the last
    map, `(N, C, h, w)`: each is the product of what a query has become with the last map.

    Args:
        n_queries: how many there are.
        channels: channels of the maps that are looked at, and then of the last.

    Source: Kang et al., "DDColor: Towards Photo-Realistic Image Colorization via Dual Decoders"
    (2023), section 3.3, at a fraction of the size.
    """

    def __init__(self, n_queries: int, channels: Sequence[int]) -> None:
        super().__init__()
        *looked_at, last = channels
        self.queries = nn.Parameter(torch.randn(n_queries, DIM) * 0.02)
        self.blocks = nn.ModuleList(_Block(width) for width in looked_at)
        self.to_channels = nn.Linear(DIM, last)

    def forward(self, maps: Sequence[Tensor], last: Tensor) -> Tensor:
        """Map maps of the way up `(N, C, h, w)` and the last one to `(N, n_queries, h, w)`."""
        queries = self.queries.expand(len(last), -1, -1)
        for block, seen in zip(self.blocks, maps, strict=True):
            queries = block(queries, seen)
        return torch.einsum("nqc,nchw->nqhw", self.to_channels(queries).to(last.dtype), last)


class _Block(nn.Module):
    """Cross-attention to a map, self-attention, and a perceptron; each after a norm, and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, DIM)
        self.norms = nn.ModuleList(nn.LayerNorm(DIM) for _ in range(4))
        self.cross = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        self.self_ = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
        self.perceptron = nn.Sequential(nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM))

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        """Map queries `(N, Q, DIM)` and a map `(N, C, h, w)` to queries `(N, Q, DIM)`."""
        memory = self.norms[3](self.project(seen.flatten(2).transpose(1, 2)))
        q = self.norms[0](queries)
        queries = queries + self.cross(q, memory, memory, need_weights=False)[0]
        q = self.norms[1](queries)
        queries = queries + self.self_(q, q, q, need_weights=False)[0]
        added: Tensor = self.perceptron(self.norms[2](queries))
        return queries + added
