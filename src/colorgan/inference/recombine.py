"""Small colours and a large photo, merged: chroma follows the edges, lightness stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from colorgan import color
from colorgan.color import FloatArray, UInt8Array
from colorgan.inference.border import Box
from colorgan.inference.image import Photo

RADIUS = 2
"""Pixels of the small copy around one, in whose window colour is taken for linear in L."""
EPSILON = 9.0
"""Variance of L under which a window counts as flat, and colour there for even; L is in 0..100."""
STRIP = 1 << 17
"""Pixels that a thread works on at once: no planes of floats of the size of the photo, and those of
a strip are small enough for a processor's cache: larger strips take longer."""
THREADS = max(1, min(8, os.cpu_count() or 1))


class GuidedChroma:
    """a and b brought up to the size of a photo along its lightness.

    Where L has an edge, so has the colour, however coarse the network's picture was: in each small
    window a and b are fitted as linear in L, and the line is followed in the large photo.

    Args:
        lightness: L of the small copy, `(h, w)`.
        ab: a and b of it, `(h, w, 2)`.

    Source: He and Sun, "Fast guided filter" (2015); He et al., "Guided image filtering" (2010).
    """

    def __init__(self, lightness: FloatArray, ab: FloatArray) -> None:
        mean = _window(lightness)
        variance: FloatArray = np.maximum(_window(lightness * lightness) - mean * mean, 0)
        self._planes = []
        for channel in range(2):
            chroma = np.ascontiguousarray(ab[..., channel])
            mean_chroma = _window(chroma)
            covariance = _window(lightness * chroma) - mean * mean_chroma
            slope = covariance / (variance + np.float32(EPSILON))
            offset = mean_chroma - slope * mean
            self._planes.append((_window(slope), _window(offset)))

    def rows(self, lightness: FloatArray, top: int, height: int) -> FloatArray:
        """Return a and b `(n, W, 2)` of the rows from `top` of a photo `height` pixels high.

        Args:
            lightness: L of those rows, `(n, W)`.
            top: the first of them.
            height: rows of the whole photo.
        """
        planes = []
        for slope, offset in self._planes:
            up = [_enlarged(plane, lightness.shape, top, height) for plane in (slope, offset)]
            planes.append(up[0] * lightness + up[1])
        return np.stack(planes, axis=-1)


def merge(
    photo: Photo,
    small: FloatArray,
    ab: FloatArray,
    saturation: float = 1.0,
    box: Box | None = None,
) -> UInt8Array:
    """Colour a photo: its own L, and the a and b of its small copy.

    Where a colour leaves sRGB its chroma is reduced at the same L and hue.

    Args:
        photo: the photo.
        small: its small copy in 0..1, `(h, w, 3)` or gray `(h, w)`.
        ab: a and b of the small copy, `(h, w, 2)`.
        saturation: what the chroma is multiplied by; 0 is gray.
        box: where the picture is that `small` is a copy of; the rest stays gray.

    Returns:
        sRGB `(H, W, 3)`.
    """
    chroma = GuidedChroma(color.lightness_from_srgb(small), ab * np.float32(saturation))
    box = box or Box(0, photo.height, 0, photo.width)
    colored = np.empty((photo.height, photo.width, 3), np.uint8)

    def color_rows(top: int, bottom: int) -> None:
        lab = np.zeros((bottom - top, photo.width, 3), np.float32)
        lab[..., 0] = color.lightness_from_srgb(photo.pixels[top:bottom])
        first, last = max(top, box.top), min(bottom, box.bottom)
        if first < last:
            inside = lab[first - top : last - top, box.left : box.right]
            inside[..., 1:] = chroma.rows(inside[..., 0], first - box.top, box.bottom - box.top)
        colored[top:bottom] = color.uint8_from_unit(color.rgb_within_srgb(lab))

    strips = list(_strips(photo))
    if len(strips) == 1:
        color_rows(*strips[0])
    else:
        # NumPy lets go of the interpreter while it computes.
        with ThreadPoolExecutor(THREADS) as pool:
            for done in [pool.submit(color_rows, *rows) for rows in strips]:
                done.result()
    return colored


def _strips(photo: Photo) -> Iterator[tuple[int, int]]:
    rows = max(1, STRIP // photo.width)
    for top in range(0, photo.height, rows):
        yield top, min(top + rows, photo.height)


def _window(plane: FloatArray) -> FloatArray:
    mean: FloatArray = uniform_filter(plane, 2 * RADIUS + 1, mode="nearest")
    return mean


def _enlarged(plane: FloatArray, shape: tuple[int, ...], top: int, height: int) -> FloatArray:
    """Bring the part of a plane that lies under some rows of the photo to their size."""
    scale = plane.shape[0] / height
    box = (0, top * scale, plane.shape[1], min((top + shape[0]) * scale, plane.shape[0]))
    image = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)
