"""Colours to offer for a hint: likely ones at its place, and a wheel of all of its lightness."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from colorgan import color
from colorgan.color import FloatArray
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.hints import Hint
from colorgan.inference.image import Picture
from colorgan.inference.prepare import PreparedInput

COMMON = (
    (6, 20), (-12, 23), (-6, -20), (-24, 2), (4, -38), (24, 25),
    (-22, 44), (17, -10), (15, 49), (28, -45), (52, 5), (48, 45),
)  # fmt: skip
"""The a and b of common colours: centres of clusters (k-means) of the bundled photos' pixels."""
REACH = 8
"""How far around a place, in pixels of the small copy, the effect of a hint counts."""
ALIKE = 8.0
"""Differences in L up to this are taken for the same thing."""
APART = 12.0
"""Least distance in ab between two likely colours."""
MOST = 6
"""Likely colours, without gray."""
WHEEL = 176
"""Side in pixels of the wheel."""


def lightness_at(picture: Picture, x: float, y: float) -> float:
    """Return L in 0..100 around a place in fractions of an upright picture."""
    height, width = picture.pixels.shape[:2]
    row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
    around = picture.pixels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return float(color.lightness_from_srgb(around).mean())


def likely_colours(
    colorizer: Colorizer,
    picture: Picture,
    prepared: PreparedInput,
    hints: Sequence[Hint],
    x: float,
    y: float,
) -> list[str]:
    """Return likely colours as `#rrggbb`, the network's own first, gray last.

    The others are what the network makes of hints of common colours, beginning with those that it
    follows best; and, where it makes the same of many of them, common colours themselves.
    """
    lightness = lightness_at(picture, x, y)
    asked = _within(lightness, np.array(COMMON, np.float32))[:, 1:]
    tried = [hints, *([*hints, Hint(x, y, (float(a), float(b)))] for a, b in asked)]
    answers = colorizer.predict([prepared.with_hints(one) for one in tried])
    own, *others = [_mean_near(picture, prepared, ab, x, y) for ab in answers]
    order = np.argsort(np.linalg.norm(np.stack(others) - asked, axis=1))
    likely = [own, np.zeros(2, np.float32)]
    for ab in [*np.stack(others)[order], *asked[order]]:
        if len(likely) <= MOST and min(np.linalg.norm(np.stack(likely) - ab, axis=1)) >= APART:
            likely.append(ab)
    likely.append(likely.pop(1))
    colours = color.uint8_from_unit(color.rgb_from_lab(_within(lightness, np.stack(likely))))
    return [f"#{bytes(rgb).hex()}" for rgb in colours]


@lru_cache(101)
def wheel(lightness: int) -> bytes:
    """Return a colour wheel of one lightness as PNG: gray in the middle, strong at the edge."""
    hues = np.linspace(-np.pi, np.pi, 361)
    rim = _within(lightness, 150 * np.stack((np.cos(hues), np.sin(hues)), axis=-1))
    y, x = (np.mgrid[:WHEEL, :WHEEL] + 0.5) * (2 / WHEEL) - 1
    radius, hue = np.hypot(x, y), np.arctan2(-y, x)
    a, b = (np.interp(hue, hues, rim[:, i]) * np.minimum(radius, 1) for i in (1, 2))
    lab = np.stack((np.full_like(a, lightness), a, b), axis=-1).astype(np.float32)
    opacity = np.clip((1 - radius) * WHEEL / 2, 0, 1)
    buffer = io.BytesIO()
    pixels = color.uint8_from_unit(np.dstack((color.rgb_within_srgb(lab), opacity)))
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _within(lightness: float, ab: FloatArray) -> FloatArray:
    """Return Lab `(N, 3)` of a lightness, the chroma of `ab` reduced to what sRGB has."""
    return color.within_srgb(np.insert(ab, 0, lightness, axis=-1).astype(np.float32))


def _mean_near(
    picture: Picture, prepared: PreparedInput, ab: FloatArray, x: float, y: float
) -> FloatArray:
    """Return the mean ab of the pixels near a place that are about as light."""
    small = color.lightness_from_srgb(prepared.small)
    height, width = picture.pixels.shape[:2]
    box, (rows, columns) = prepared.box, small.shape
    row = int(np.clip((y * height - box.top) / (box.bottom - box.top), 0, 0.999) * rows)
    column = int(np.clip((x * width - box.left) / (box.right - box.left), 0, 0.999) * columns)
    near = np.s_[max(0, row - REACH) : row + REACH + 1, max(0, column - REACH) : column + REACH + 1]
    weights = np.maximum(ALIKE - np.abs(small[near] - small[row, column]), 0)
    mean: FloatArray = np.average(ab[near].reshape(-1, 2), axis=0, weights=weights.ravel())
    return mean.astype(np.float32)
