"""Recombine a picture's own lightness with the colours of its small copy."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from colorgan import color
from colorgan.color import FloatArray, UInt8Array
from colorgan.inference.image import Picture
from colorgan.inference.prepare import Box

RADIUS = 2
"""Radius of the guided filter's window, in pixels of the small copy."""
EPSILON = 9.0
"""Regularization of the guided filter: where L (0..100) has less variance, colour is averaged."""
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
) -> UInt8Array:
    """Colour a picture: its own L with the a and b predicted for its small copy.

    A colour outside sRGB has its chroma reduced at the same L and hue.

    Args:
        picture: of which the result has the size, in sRGB `(H, W, 3)`.
        small: the small copy in 0..1, `(h, w, 3)` or gray `(h, w)`.
        ab: a and b of the small copy, `(h, w, 2)`.
        saturation: factor of the chroma; 0 is gray.
        box: the part of the picture that `small` shows, all of it if None; the rest stays gray.
    """
    chroma = GuidedChroma(color.lightness_from_srgb(small), ab * np.float32(saturation))
    height, width = picture.pixels.shape[:2]
    box = box or Box(0, height, 0, width)
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


def _window_mean(plane: FloatArray) -> FloatArray:
    mean: FloatArray = uniform_filter(plane, 2 * RADIUS + 1, mode="nearest")
    return mean


def _enlarged(plane: FloatArray, shape: tuple[int, ...], top: int, height: int) -> FloatArray:
    """Enlarge the part of a plane that lies under the rows from `top` to their `shape`."""
    scale = plane.shape[0] / height
    box = (0, top * scale, plane.shape[1], min((top + shape[0]) * scale, plane.shape[0]))
    image = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)
