"""Colour queries: learnt vectors that attend to the whole picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

DIM = 128
HEADS = 4


class ColorQueries(nn.Module):
    """Queries attend to feature maps of a decoder and become the weights of a 1x1 convolution.

    The convolution maps the last feature map to colours, with weights of each photo's own. The
    paper multiplies queries and feature map and mixes the product; this is the same sum, without
    the large product.

    `channels` are those of the feature maps to attend to, and last of the map to convolve.

    Source: Kang et al., "DDColor: Towards Photo-Realistic Image Colorization via Dual Decoders"
    (2023), section 3.3, at a fraction of the size.
    """

    def __init__(self, n_queries: int, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        *attended, last = channels
        self.queries = nn.Parameter(torch.randn(n_queries, DIM) * 0.02)
        self.layers = nn.ModuleList(_Layer(width) for width in attended)
        self.to_channels = nn.Linear(DIM, last)
        self.mix = nn.Linear(n_queries, out_channels, bias=False)

    def forward(self, maps: Sequence[Tensor], last: Tensor) -> Tensor:
        """Attend to `maps`, coarse to fine, and convolve `last` to `(N, out_channels, h, w)`."""
        queries = self.queries.expand(len(last), -1, -1)
        for layer, features in zip(self.layers, maps, strict=True):
            queries = layer(queries, features)
        weights = self.mix(self.to_channels(queries).transpose(1, 2))
        colours: Tensor = _tokens(last) @ weights.to(last.dtype)
        return colours.transpose(1, 2).reshape(len(last), -1, *last.shape[2:])


class _Layer(nn.Module):
    """Transformer decoder layer: cross-attention, self-attention and an MLP, each a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.memory = nn.Sequential(nn.Linear(channels, DIM), nn.LayerNorm(DIM))
        self.cross_norm, self.self_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.cross_attention, self.self_attention = _Attention(), _Attention()
        self.mlp = nn.Sequential(
            nn.LayerNorm(DIM), nn.Linear(DIM, 4 * DIM), nn.GELU(), nn.Linear(4 * DIM, DIM)
        )

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """Update queries `(N, n_queries, DIM)` from a feature map `(N, C, h, w)`."""
        memory = self.memory(_tokens(features))
        queries = queries + self.cross_attention(self.cross_norm(queries), memory)
        normed = self.self_norm(queries)
        queries = queries + self.self_attention(normed, normed)
        residual: Tensor = self.mlp(queries)
        return queries + residual


class _Attention(nn.Module):
    """Multi-head attention, for few queries faster in the backward pass than torch's own.

    Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.
    """

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key_value = nn.Linear(DIM, DIM), nn.Linear(DIM, 2 * DIM)
        self.out = nn.Linear(DIM, DIM)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Let queries `(N, Q, DIM)` attend to memory `(N, M, DIM)`: `(N, Q, DIM)`."""
        query = _heads(self.query(queries))
        both = self.key_value(memory)
        key, value = _heads(both[..., :DIM]), _heads(both[..., DIM:])
        # Scaled before the product, which could overflow in half precision.
        weights = ((query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)).softmax(-1)
        values = weights.to(value.dtype) @ value
        out: Tensor = self.out(values.transpose(1, 2).flatten(2))
        return out


def _heads(tokens: Tensor) -> Tensor:
    """Reshape `(N, M, DIM)` to `(N, HEADS, M, DIM / HEADS)`."""
    return tokens.reshape(*tokens.shape[:2], HEADS, -1).transpose(1, 2)


def _tokens(features: Tensor) -> Tensor:
    """Reshape a feature map `(N, C, h, w)` to tokens `(N, h * w, C)`."""
    return features.flatten(2).transpose(1, 2)
