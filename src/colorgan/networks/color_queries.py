"""Colours that are asked for of the whole picture, beside those that a convolution sees nearby."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

DIM = 128
HEADS = 4


class ColorQueries(nn.Module):
    """Learnt queries look at the maps of a decoder, and then weigh the channels of its last one.

    Maps of the way up, coarse to fine, and the last, `(N, C, h, w)`, to `(N, out_channels, h, w)`.
    In the source the queries' product with the last map is a map of its own, which a convolution
    of 1x1 mixes. Both are linear: here they are one convolution of 1x1, whose weights are each
    photo's own, and which spares the wide map.

    Args:
        n_queries: how many there are.
        channels: channels of the maps that are looked at, and then of the last.
        out_channels: channels of the output.

    Source: Kang et al., "DDColor: Towards Photo-Realistic Image Colorization via Dual Decoders"
    (2023), section 3.3, at a fraction of the size.
    """

    def __init__(self, n_queries: int, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        *looked_at, last = channels
        self.queries = nn.Parameter(torch.randn(n_queries, DIM) * 0.02)
        self.layers = nn.ModuleList(_Layer(width) for width in looked_at)
        self.to_channels = nn.Linear(DIM, last)
        self.mix = nn.Linear(n_queries, out_channels, bias=False)

    def forward(self, maps: Sequence[Tensor], last: Tensor) -> Tensor:
        """Map maps of the way up `(N, C, h, w)` and the last one to `(N, out_channels, h, w)`."""
        queries = self.queries.expand(len(last), -1, -1)
        for layer, seen in zip(self.layers, maps, strict=True):
            queries = layer(queries, seen)
        weights = self.mix(self.to_channels(queries).transpose(1, 2))
        colours: Tensor = _as_words(last) @ weights.to(last.dtype)
        return colours.transpose(1, 2).reshape(len(last), -1, *last.shape[2:])


class _Layer(nn.Module):
    """Attention of the queries to a map and to each other, and a perceptron; each is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.memory = nn.Sequential(nn.Linear(channels, DIM), nn.LayerNorm(DIM))
        self.cross_norm, self.self_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.cross_attention, self.self_attention = _Attention(), _Attention()
        self.mlp = nn.Sequential(
            nn.LayerNorm(DIM), nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM)
        )

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        """Map queries `(N, n_queries, DIM)` and a map `(N, C, h, w)` to queries of the same."""
        memory = self.memory(_as_words(seen))
        queries = queries + self.cross_attention(self.cross_norm(queries), memory)
        others = self.self_norm(queries)
        queries = queries + self.self_attention(others, others)
        added: Tensor = self.mlp(queries)
        return queries + added


class _Attention(nn.Module):
    """Attention of several heads.

    Written out: with so few queries the matrices are small, and torch's own attention is slower on
    the way back.

    Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key_value = nn.Linear(DIM, DIM), nn.Linear(DIM, 2 * DIM)
        self.out = nn.Linear(DIM, DIM)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Map queries `(N, Q, DIM)` and what they look at, `(N, M, DIM)`, to `(N, Q, DIM)`."""
        query = _in_heads(self.query(queries))
        both = self.key_value(memory)
        key, value = _in_heads(both[..., :DIM]), _in_heads(both[..., DIM:])
        # Scaled before the product, which half precision then holds.
        weights = ((query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)).softmax(-1)
        seen = weights.to(value.dtype) @ value
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out


def _in_heads(words: Tensor) -> Tensor:
    """Return `(N, M, DIM)` as `(N, HEADS, M, DIM / HEADS)`."""
    return words.reshape(*words.shape[:2], HEADS, -1).transpose(1, 2)


def _as_words(map_: Tensor) -> Tensor:
    """Return a map `(N, C, h, w)` as attention takes it, `(N, h * w, C)`."""
    return map_.flatten(2).transpose(1, 2)
