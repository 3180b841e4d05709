"""Colours to offer for a hint: likely ones at its place, and a wheel of all of its lightness."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from colorgan import color
from colorgan.color import FloatArray
from colorgan.data.decode import turn_upright
from colorgan.inference.backends import Network
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.hints import Hint
from colorgan.inference.image import Picture
from colorgan.inference.prepare import PreparedInput

COMMON = (
    ((0, -13), (2, 14), (-10, 11), (6, -24), (14, 4), (-13, 20),
     (14, 19), (-13, -1), (26, 14), (19, -18), (34, 25), (23, -39)),
    ((3, 12), (-6, 26), (14, 23), (-1, -15), (-16, 3), (-22, 30),
     (7, -31), (27, 35), (33, 4), (23, -45), (49, 39), (43, -66)),
    ((7, 12), (-6, 29), (-6, -15), (1, -36), (-24, 44), (21, 30),
     (-23, 11), (22, 50), (19, -56), (57, 50), (55, 7), (37, -31)),
    ((6, 18), (0, -15), (0, -35), (-14, 36), (23, 38), (-15, 11),
     (-34, 56), (-5, 64), (-24, -15), (28, 64), (-43, 8), (35, -25)),
    ((-3, -13), (2, 15), (6, 32), (-3, -25), (-15, 31), (-21, -14),
     (-19, 8), (-8, 78), (-3, 55), (-29, 54), (22, -20), (-43, 10)),
)  # fmt: skip
"""The a and b of common colours for each fifth of L: centres of clusters (k-means) of the colours
of the bundled photos, each colour weighted by the root of its pixels."""
CROP = 3
"""Side of the part of a photo in which hints are tried, in multiples of what the network takes."""
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
    """Return L in 0..100 around a place of a picture, in fractions of it as seen."""
    pixels = turn_upright(picture.pixels, picture.orientation)
    height, width = pixels.shape[:2]
    row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
    around = pixels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
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

    The others are common colours of this lightness, beginning with those that the network follows
    best if they are hints.
    """
    lightness = lightness_at(picture, x, y)
    common = COMMON[min(int(lightness) // 20, 4)]
    asked = _within(lightness, np.array(common, np.float32))[:, 1:]
    tried = prepared.with_hints([Hint(x, y, (float(a), float(b))) for a, b in asked])
    answers = _answers(colorizer.network, tried)
    [predicted] = colorizer.predict([prepared.with_hints(hints)])
    small = color.lightness_from_srgb(prepared.small)
    likely = [
        _mean_near(predicted, small, *tried.spots[0].pixel(*small.shape[::-1])),
        np.zeros(2, np.float32),
    ]
    for ab in asked[np.argsort(np.linalg.norm(answers - asked, axis=1))]:
        if len(likely) <= MOST and min(np.linalg.norm(np.stack(likely) - ab, axis=1)) >= APART:
            likely.append(ab)
    likely.append(likely.pop(1))
    colours = color.uint8_from_unit(color.rgb_from_lab(_within(lightness, np.stack(likely))))
    return [f"#{bytes(rgb).hex()}" for rgb in colours]


def _answers(network: Network, prepared: PreparedInput) -> FloatArray:
    """Return the ab `(N, 2)` that the network makes of each of N hints, all at one place.

    It sees the part of the photo around that place, once for each hint, in one batch.
    """
    places = prepared.hint_places()
    maps = np.stack([prepared.hint_input(place[None]) for place in places])
    window, at = [], []
    for centre, length in zip(places[0, :2].astype(int), maps.shape[2:], strict=True):
        side = min(CROP * network.multiple, length)
        first = min(max(centre - side // 2, 0), length - side)
        window.append(slice(first, first + side))
        at.append(centre - first)
    seen = prepared.input[:, *window]
    outputs = network.predict_hinted(np.repeat(seen[None], len(maps), 0), maps[:, :, *window])[0]
    lightness = 50 * seen[0]
    return np.stack([_mean_near(network.space.ab(one), lightness, *at) for one in outputs])


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


def _mean_near(ab: FloatArray, lightness: FloatArray, row: int, column: int) -> FloatArray:
    """Return the mean ab of the pixels near one that are about as light."""
    near = np.s_[max(0, row - REACH) : row + REACH + 1, max(0, column - REACH) : column + REACH + 1]
    weights = np.maximum(ALIKE - np.abs(lightness[near] - lightness[row, column]), 0)
    mean: FloatArray = np.average(ab[near].reshape(-1, 2), axis=0, weights=weights.ravel())
    return mean.astype(np.float32)
