"""Recombine a picture's own lightness with the colours of its small copy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from colorgan import color
from colorgan.color import FloatArray, UInt8Array
from colorgan.inference.image import Picture, Pixels
from colorgan.inference.prepare import Box, Spot

RADIUS = 2
"""Radius of the guided filter's window, in pixels of the small copy."""
EPSILON = 9.0
"""Regularization of the guided filter: where L (0..100) has less variance, colour is averaged."""
HINT_REACH, HINT_CONTRAST = 10.0, 15.0
"""A correction falls to 1/e over so many pixels of the small copy, and so much L (0..100)."""
HINT_ROUNDS, HINT_CLOSE = 12, 0.5
"""Most rounds in which hints are corrected, as the guided filter blurs each correction, and the
difference in a and b that needs no further one."""
HINT_RIDGE = 0.01
"""Keeps the corrections of two hints at one place, which contradict each other, finite."""
HINT_FAR = 40
"""Pixels of the small copy beyond which nothing is corrected."""
STRIP = 1 << 17
"""Pixels that a thread works on at once: few enough for the cache of a processor, and so that no
array of floats is as large as the picture."""
THREADS = max(1, min(8, os.cpu_count() or 1))


class GuidedChroma:
    """Guided filter that enlarges a and b along the edges of the lightness.

    In each small window of the small copy a and b `(h, w, 2)` are fitted as linear functions of its
    L `(h, w)`; the functions are enlarged and applied to the picture's own L. Or of N small copies.

    Source: He and Sun, "Fast guided filter" (2015); He et al., "Guided image filtering" (2010).
    """

    def __init__(self, lightness: FloatArray, ab: FloatArray) -> None:
        mean = _window_mean(lightness)
        variance: FloatArray = np.maximum(_window_mean(lightness * lightness) - mean * mean, 0)
        self._lines = []
        for channel in range(2):
            chroma = np.ascontiguousarray(ab[..., channel])
            mean_chroma = _window_mean(chroma)
            covariance = _window_mean(lightness * chroma) - mean * mean_chroma
            slope = covariance / (variance + np.float32(EPSILON))
            offset = mean_chroma - slope * mean
            self._lines.append((_window_mean(slope), _window_mean(offset)))

    def points(self, lightness: FloatArray, down: FloatArray, across: FloatArray) -> FloatArray:
        """Return a and b `(N, 2)` at a place of each of N copies, by the L there `(N,)`.

        The `bilinear_weights` of the places are `(N, h)` and `(N, w)`.
        """
        planes = []
        for line in self._lines:
            slope, offset = (np.einsum("nh,nhw,nw->n", down, plane, across) for plane in line)
            planes.append(slope * lightness + offset)
        return np.stack(planes, axis=-1)

    def rows(self, lightness: FloatArray, top: int, height: int) -> FloatArray:
        """Return a and b `(n, W, 2)` of rows from `top` on of a picture of a height, by their L."""
        planes = []
        for line in self._lines:
            slope, offset = (_enlarged(plane, lightness.shape, top, height) for plane in line)
            planes.append(slope * lightness + offset)
        return np.stack(planes, axis=-1)


def recombine(
    picture: Picture,
    small: FloatArray,
    ab: FloatArray,
    saturation: float = 1.0,
    box: Box | None = None,
    spots: Sequence[Spot] = (),
) -> UInt8Array:
    """Colour a picture: its own L with the a and b predicted for its small copy.

    A colour outside sRGB has its chroma reduced at the same L and hue.

    Args:
        picture: of which the result has the size, in sRGB `(H, W, 3)`.
        small: the small copy in 0..1, `(h, w, 3)` or gray `(h, w)`.
        ab: a and b of the small copy, `(h, w, 2)`.
        saturation: factor of the chroma; 0 is gray.
        box: the part of the picture that `small` shows, all of it if None; the rest stays gray.
        spots: places in the box that have a and b of their own, whatever the saturation.
    """
    height, width = picture.pixels.shape[:2]
    box = box or Box(0, height, 0, width)
    lightness, ab = color.lightness_from_srgb(small), ab * np.float32(saturation)
    if spots:
        shown = picture.pixels[box.top : box.bottom, box.left : box.right]
        ab = _with_spots(ab, lightness, spots, shown)
    chroma = GuidedChroma(lightness, ab)
    colored = np.empty((height, width, 3), np.uint8)
    n_rows = max(1, STRIP // width)

    def color_strip(top: int) -> None:
        bottom = min(top + n_rows, height)
        lab = np.zeros((bottom - top, width, 3), np.float32)
        lab[..., 0] = color.lightness_from_srgb(picture.pixels[top:bottom])
        first, last = max(top, box.top), min(bottom, box.bottom)
        if first < last:
            inside = lab[first - top : last - top, box.left : box.right]
            inside[..., 1:] = chroma.rows(inside[..., 0], first - box.top, box.bottom - box.top)
        colored[top:bottom] = color.uint8_from_unit(color.rgb_within_srgb(lab))

    # In threads, as NumPy releases the GIL.
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(color_strip, range(0, height, n_rows)))
    return colored


def _with_spots(
    ab: FloatArray, lightness: FloatArray, spots: Sequence[Spot], shown: Pixels
) -> FloatArray:
    """Correct a and b of the small copy so that spots of the picture `shown` have their own.

    What is missing at a spot is spread to near places of a similar lightness.
    """
    height, width = lightness.shape
    pixels = np.array([spot.pixel(*shown.shape[1::-1]) for spot in spots])
    own = color.lightness_from_srgb(shown[tuple(pixels.T)][None])[0]
    wanted = color.within_srgb(np.column_stack((own, [spot.ab for spot in spots])))[:, 1:]
    places = np.array([spot.pixel(width, height) for spot in spots])
    apart = (places[:, None] - places).transpose(2, 0, 1)
    levels = lightness[tuple(places.T)]
    # Of what is corrected at one spot, the others get a share too.
    matrix = _share(apart[0], apart[1], levels[:, None] - levels) + HINT_RIDGE * np.eye(len(spots))
    windows = []
    for (row, column), level in zip(places, levels, strict=True):
        top, left = max(0, row - HINT_FAR), max(0, column - HINT_FAR)
        window = np.s_[top : row + HINT_FAR + 1, left : column + HINT_FAR + 1]
        near = lightness[window]
        down, right = np.ogrid[: near.shape[0], : near.shape[1]]
        share = _share(down + (top - row), right + (left - column), near - level)
        windows.append((window, share[..., None]))
    # The guided filter around each spot alone.
    around, weights = [], []
    for at, place, length, size in zip(
        pixels.T, places.T, lightness.shape, shown.shape[:2], strict=True
    ):
        reach = 2 * RADIUS + 1 + int(np.ceil(1.5 * max(1, length / size)))
        first = np.clip(place - reach, 0, max(0, length - 2 * reach - 1))
        around.append(first[:, None] + np.arange(min(length, 2 * reach + 1)))
        weights.append(np.take_along_axis(bilinear_weights(at, size, length), around[-1], axis=1))
    crops = around[0][:, :, None], around[1][:, None]
    ab = ab.copy()
    for _ in range(HINT_ROUNDS):
        missing = wanted - GuidedChroma(lightness[crops], ab[crops]).points(own, *weights)
        if np.abs(missing).max() < HINT_CLOSE:
            break
        corrections = np.linalg.solve(matrix, missing).astype(np.float32)
        for (window, share), correction in zip(windows, corrections, strict=True):
            ab[window] += share * correction
    return ab


def _share(rows: Any, columns: Any, contrast: Any) -> FloatArray:
    """Return the share of a correction at other places, by how far they and their L are off."""
    apart = np.hypot(rows, columns).astype(np.float32)
    share: FloatArray = np.exp(-apart / HINT_REACH - np.abs(contrast) / HINT_CONTRAST)
    return share


def _window_mean(plane: FloatArray) -> FloatArray:
    mean: FloatArray = uniform_filter(plane, 2 * RADIUS + 1, mode="nearest", axes=(-2, -1))
    return mean


def bilinear_weights(at: Any, size: int, length: int) -> FloatArray:
    """Return the weights `(N, length)` of a line that is resized to `size`, in its pixels `(N,)`.

    They are those of Pillow, which takes means where the line gets shorter.
    """
    scale = length / size
    apart = np.abs(np.arange(length) + 0.5 - (at[:, None] + 0.5) * scale)
    weights = np.maximum(1 - apart / max(1.0, scale), 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _enlarged(plane: FloatArray, shape: tuple[int, ...], top: int, height: int) -> FloatArray:
    """Enlarge the part of a plane that lies under the rows from `top` to their `shape`."""
    scale = plane.shape[0] / height
    box = (0, top * scale, plane.shape[1], min((top + shape[0]) * scale, plane.shape[0]))
    image = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)
