"""Spread the colours of hints over what they belong to, guided by features of the encoder."""

from __future__ import annotations

import numpy as np
from PIL import Image

from colorgan.color import FloatArray

PLACE = 0.27
"""Distance over which a hint's weight falls to 1/e, as a share of the shorter side. Unlike with a
Gaussian, this weight prefers the nearest of many hints, and a single one still reaches far."""
LIGHTNESS, FEATURES = 0.24, 0.65
"""Standard deviations of a hint's weight: over the difference in lightness, of a range of 2, and
over the distance between standardized features, divided by the root of their number. All chosen on
20 validation photos, with 1 to 20 hints at random places and where the error is largest."""
OWN = 0.015
"""Weight of the colours that the network predicts."""


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
    height, width = lightness.shape
    of_features = features.reshape(len(features), -1)
    of_features = of_features - of_features.mean(axis=1, keepdims=True)
    of_features /= np.maximum(of_features.std(axis=1, keepdims=True), 1e-3) * len(features) ** 0.5
    lines, columns = np.mgrid[:height, :width].astype(np.float32) / min(height, width)
    total = np.full((height, width, 1), OWN, np.float32)
    sums = OWN * ab
    for row, column, *colour in hints:
        at = int(row), int(column)
        cell = at[0] * features.shape[1] // height, at[1] * features.shape[2] // width
        own = of_features[:, cell[0] * features.shape[2] + cell[1], None]
        unlike = ((of_features - own) ** 2).sum(axis=0).reshape(features.shape[1:])
        enlarged = Image.fromarray(unlike).resize((width, height), Image.Resampling.BILINEAR)
        weight = np.exp(
            -np.hypot(lines - lines[at], columns - columns[at]) / PLACE
            - (lightness - lightness[at]) ** 2 / (2 * LIGHTNESS**2)
            - np.asarray(enlarged) / (2 * FEATURES**2)
        )[..., None]
        sums = sums + weight * np.array(colour, np.float32)
        total = total + weight
    spread: FloatArray = sums / total
    return spread
