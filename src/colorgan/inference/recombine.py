"""Recombine a picture's own lightness with the colours of its small copy."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from colorgan import color
from colorgan.color import FloatArray, UInt8Array
from colorgan.inference.image import Picture, Pixels
from colorgan.inference.prepare import NO_SPOTS, Box, spot_pixels

RADIUS = 2
"""Radius of the guided filter's window, in pixels of the small copy."""
EPSILON = 9.0
"""Regularization of the guided filter: where L (0..100) has less variance, colour is averaged."""
HINT_REACH, HINT_CONTRAST = 10.0, 15.0
"""A correction falls to 1/e over so many pixels of the small copy, and so much L (0..100)."""
HINT_RIDGE = 1e-3
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
    L `(h, w)`; the functions are enlarged and applied to the picture's own L.

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
        """Return a and b `(N, 2)` at N places, by the L there `(N,)`.

        The `bilinear_weights` of the places are `(N, h)` and `(N, w)`.
        """
        planes = []
        for line in self._lines:
            slope, offset = (((down @ plane) * across).sum(axis=1) for plane in line)
            planes.append(slope * lightness + offset)
        return np.stack(planes, axis=-1)

    def add(self, window: tuple[slice, slice], ab: FloatArray) -> None:
        """Add a and b to those in a window of the small copy, whatever the L."""
        for (_, offset), plane in zip(self._lines, ab, strict=True):
            offset[window] += plane

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
    spots: FloatArray = NO_SPOTS,
) -> UInt8Array:
    """Colour a picture: its own L with the a and b predicted for its small copy.

    A colour outside sRGB has its chroma reduced at the same L and hue.

    Args:
        picture: of which the result has the size, in sRGB `(H, W, 3)`.
        small: the small copy in 0..1, `(h, w, 3)` or gray `(h, w)`.
        ab: a and b of the small copy, `(h, w, 2)`.
        saturation: factor of the chroma; 0 is gray.
        box: the part of the picture that `small` shows, all of it if None; the rest stays gray.
        spots: hints of a `PreparedInput`: places that have their a and b, whatever the saturation.
    """
    height, width = picture.pixels.shape[:2]
    box = box or Box(0, height, 0, width)
    lightness = color.lightness_from_srgb(small)
    chroma = GuidedChroma(lightness, ab * np.float32(saturation))
    if len(spots):
        shown = picture.pixels[box.top : box.bottom, box.left : box.right]
        _keep_spots(chroma, lightness, spots, shown)
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


def _keep_spots(
    chroma: GuidedChroma, lightness: FloatArray, spots: FloatArray, shown: Pixels
) -> None:
    """Correct the colours so that spots of the picture `shown` have their own.

    What is missing at a spot is spread to near places of a similar lightness.
    """
    pixels = spot_pixels(spots, shown)
    own = color.lightness_from_srgb(shown[tuple(pixels.T)][None])[0]
    wanted = color.within_srgb(np.column_stack((own, spots[:, 2:])))[:, 1:]
    sizes = zip(pixels.T, shown.shape[:2], lightness.shape, strict=True)
    down, across = (bilinear_weights(*each) for each in sizes)
    windows, responses = [], []
    for row, column in spot_pixels(spots, lightness):
        lines = slice(max(0, row - HINT_FAR), row + HINT_FAR + 1)
        columns = slice(max(0, column - HINT_FAR), column + HINT_FAR + 1)
        near = lightness[lines, columns]
        y, x = np.ogrid[: near.shape[0], : near.shape[1]]
        apart = np.hypot(y + (lines.start - row), x + (columns.start - column))
        contrast = np.abs(near - lightness[row, column])
        share = np.exp(-apart / HINT_REACH - contrast / HINT_CONTRAST)
        windows.append(((lines, columns), share))
        # How much of it there is at each of the spots.
        responses.append(((down[:, lines] @ share) * across[:, columns]).sum(axis=1))
    matrix = np.stack(responses, axis=1) + HINT_RIDGE * np.eye(len(spots))
    missing = wanted - chroma.points(own, down, across)
    for (window, share), amount in zip(windows, np.linalg.solve(matrix, missing), strict=True):
        chroma.add(window, amount[:, None, None] * share)


def _window_mean(plane: FloatArray) -> FloatArray:
    mean: FloatArray = uniform_filter(plane, 2 * RADIUS + 1, mode="nearest")
    return mean


def bilinear_weights(at: Any, size: int, length: int) -> FloatArray:
    """Return the weights `(N, length)` of a line that is resized to `size`, in its pixels `(N,)`.

    They are those of Pillow, which takes means where the line gets shorter.
    """
    scale = length / size
    apart = np.abs(np.arange(length) + 0.5 - (at[:, None] + 0.5) * scale)
    weights = np.maximum(1 - apart / max(1.0, scale), 0)
    normed: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed


def _enlarged(plane: FloatArray, shape: tuple[int, ...], top: int, height: int) -> FloatArray:
    """Enlarge the part of a plane that lies under the rows from `top` to their `shape`."""
    scale = plane.shape[0] / height
    box = (0, top * scale, plane.shape[1], min((top + shape[0]) * scale, plane.shape[0]))
    image = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)
