"""Colours to offer for a hint: likely ones at its place, and a wheel of all of its lightness."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from colorgan import color
from colorgan.color import FloatArray
from colorgan.inference.backends import Network
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
ALIKE = 0.16
"""Differences in lightness, of a range of 2, up to this are taken for the same thing."""
APART = 12.0
"""Least distance in ab between two likely colours."""
MOST = 6
"""Likely colours, without gray."""
WHEEL = 176
"""Side in pixels of the wheel."""


def lightness_at(picture: Picture, x: float, y: float) -> float:
    """Return L in 0..100 around a place of a picture, in fractions of it."""
    width, height = picture.size
    row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
    around = picture.pixels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return float(color.lightness_from_srgb(around).mean())


def likely_colours(
    network: Network, picture: Picture, prepared: PreparedInput, x: float, y: float
) -> list[str]:
    """Return likely colours as `#rrggbb`, the network's own first, gray last.

    The others are common colours of this lightness, beginning with those that the network follows
    best if they are hints.
    """
    lightness = lightness_at(picture, x, y)
    common = np.array(COMMON[min(int(lightness) // 20, 4)], np.float32)
    asked = _within(lightness, common)[:, 1:]
    tried = prepared.with_hints([Hint(x, y, (float(a), float(b))) for a, b in asked])
    own, *answers = _answers(network, tried)
    likely = [own, np.zeros(2, np.float32)]
    for ab in asked[np.argsort(np.linalg.norm(answers - asked, axis=1))]:
        if len(likely) <= MOST and min(np.linalg.norm(np.stack(likely) - ab, axis=1)) >= APART:
            likely.append(ab)
    likely.append(likely.pop(1))
    colours = color.uint8_from_unit(color.rgb_from_lab(_within(lightness, np.stack(likely))))
    return [f"#{bytes(rgb).hex()}" for rgb in colours]


def _answers(network: Network, prepared: PreparedInput) -> list[FloatArray]:
    """Return the ab `(2,)` that the network makes without a hint, and of each hint, at one place.

    It sees the part of the photo around that place, once for each, in one batch. The ab are means
    of the pixels near that are about as light.
    """
    places = prepared.hint_places()
    maps = np.stack([prepared.hint_input(some) for some in (places[:0], *places[:, None])])
    window, near = [], []
    for centre, length in zip(places[0, :2].astype(int), maps.shape[2:], strict=True):
        side = min(CROP * network.multiple, length)
        first = min(max(centre - side // 2, 0), length - side)
        window.append(slice(first, first + side))
        near.append(slice(max(0, centre - first - REACH), centre - first + REACH + 1))
    seen = prepared.input[:, *window]
    outputs = network.predict_hinted(np.repeat(seen[None], len(maps), 0), maps[:, :, *window])[0]
    row, column = places[0, :2].astype(int)
    weights = np.maximum(ALIKE - np.abs(seen[0][*near] - prepared.input[0, row, column]), 0).ravel()
    answers = (network.space.ab(one)[*near].reshape(-1, 2) for one in outputs)
    return [np.average(ab, axis=0, weights=weights).astype(np.float32) for ab in answers]


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
