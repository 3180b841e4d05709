"""Spread the colours of hints over what they belong to, guided by features of the encoder."""

from __future__ import annotations

import numpy as np

from colorgan.color import FloatArray
from colorgan.inference.recombine import bilinear_weights

PLACE = 0.27
"""Distance over which a hint's weight falls to 1/e, as a share of the shorter side. Unlike with a
Gaussian, this weight prefers the nearest of many hints, and a single one still reaches far."""
LIGHTNESS, FEATURES = 0.24, 0.65
"""Standard deviations of a hint's weight: over the difference in lightness, of a range of 2, and
over the distance between standardized features, divided by the root of their number. All chosen on
20 validation photos, with 1 to 20 hints at random places and where the error is largest."""
OWN = 0.015
"""Weight of the colours that the network predicts."""
AT_ONCE = 1 << 20
"""Weights computed at once, which bounds the memory that 500 hints take."""


def spread_hints(
    ab: FloatArray, lightness: FloatArray, features: FloatArray, hints: FloatArray
) -> FloatArray:
    """Return a and b in which the colours of hints cover what looks like their places.

    Each pixel is a mean of the predicted colour and those of the hints, weighted by how near and
    how alike their places are. (The network alone follows a few hints too little.)

    Args:
        ab: a and b as predicted, `(H, W, 2)`.
        lightness: `(H, W)` in [-1, 1].
        features: feature maps of the picture, `(C, h, w)`.
        hints: `(N, 4)`: row and column in `ab`, a and b.

    Source: a cross bilateral filter (Petschnigg et al. 2004) whose guide are the lightness and the
    features, as in the propagation of colours by deep features of He et al., "Deep Exemplar-based
    Colorization" (2018).
    """
    shape, cells = np.array(lightness.shape), np.array(features.shape[1:])
    of_features = features.reshape(len(features), -1)
    of_features = of_features - of_features.mean(axis=1, keepdims=True)
    of_features /= np.maximum(of_features.std(axis=1, keepdims=True), 1e-3) * len(features) ** 0.5
    down, across = (bilinear_weights(np.arange(n), n, k) for n, k in zip(shape, cells, strict=True))
    lines, columns = (np.arange(n, dtype=np.float32) / shape.min() for n in shape)
    sums, total = OWN * ab, np.full(lightness.shape, OWN, np.float32)
    for some in np.array_split(hints, -(-len(hints) * lightness.size // AT_ONCE)):
        places = some[:, :2].astype(int)
        own = of_features[:, np.ravel_multi_index(tuple((places * cells // shape).T), cells)]
        unlike = (own**2).sum(axis=0)[:, None] + (of_features**2).sum(axis=0)
        unlike -= 2 * own.T @ of_features
        enlarged = down @ unlike.reshape(-1, *cells) @ across.T
        row, column = places.T[..., None]
        apart_down, apart_across = lines - lines[row], columns - columns[column]
        apart = np.sqrt(apart_down[:, :, None] ** 2 + apart_across[:, None] ** 2)
        contrast = lightness - lightness[tuple(places.T)][:, None, None]
        weights = np.exp(
            apart / -PLACE + contrast**2 / (-2 * LIGHTNESS**2) + enlarged / (-2 * FEATURES**2)
        )
        sums = sums + np.tensordot(weights, some[:, 2:], (0, 0))
        total = total + weights.sum(axis=0)
    spread: FloatArray = sums / total[..., None]
    return spread
