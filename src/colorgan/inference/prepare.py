"""A photo of any size as the network takes it: made small, turned upright, padded; and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from colorgan.color import FloatArray, unit_from_uint8
from colorgan.inference.border import Box, find_picture
from colorgan.inference.image import TURNS, Photo
from colorgan.spaces import Space

FLAT = 0.2
"""Range of an input, of 2, under which there is nothing to stretch but grain."""
WIDE = 1.4
"""Range from which on a photo is not faded."""
LONGEST = 4
"""So many times the shorter side the longer one may have; a longer picture is made smaller."""


@dataclass(frozen=True)
class Fitted:
    """A photo as the network takes it.

    Attributes:
        srgb: the small copy of the picture inside `box`, in 0..1, laid out as the photo is:
            `(h, w, 3)`, or gray `(h, w)`.
        input: the network's input `(I, H, W)`: upright, its sides multiples of what the network
            takes, the picture in the middle of its own mirror image.
        top: rows of `input` above the picture.
        left: columns of `input` left of the picture.
        orientation: that of the photo.
        box: where the picture lies in the photo, a border around it left out.
    """

    srgb: FloatArray
    input: FloatArray
    top: int
    left: int
    orientation: int
    box: Box

    def ab(self, output: FloatArray, space: Space) -> FloatArray:
        """Return a and b `(h, w, 2)`, laid out as the photo is, of an output `(C, H, W)`."""
        turn, back = TURNS[self.orientation]
        height, width = turn(self.srgb).shape[:2]
        cut = output[:, self.top : self.top + height, self.left : self.left + width]
        return np.ascontiguousarray(back(space.ab(cut)))


def fit(photo: Photo, space: Space, side: int, multiple: int) -> Fitted:
    """Make a photo small: `side` pixels on the shorter side, the aspect ratio kept.

    As the network was trained: on photos whose shorter side was made that of the network. A border
    is left out, and faded gray is stretched: the network has seen neither.
    """
    box = find_picture(photo)
    picture = Photo(photo.pixels[box.top : box.bottom, box.left : box.right])
    small = _resized(picture, side)
    turn, _ = TURNS[photo.orientation]
    input = _stretched(space.network_input(np.ascontiguousarray(turn(small))))
    padding = []
    for length in input.shape[1:]:
        missing = -length % multiple
        padding.append((missing // 2, missing - missing // 2))
    padded = np.pad(input, ((0, 0), *padding), mode="symmetric")
    return Fitted(small, padded, padding[0][0], padding[1][0], photo.orientation, box)


def small_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height with `side` pixels on the shorter side, the longer one limited."""
    scale = min(side / min(width, height), LONGEST * side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _stretched(input: FloatArray) -> FloatArray:
    """Stretch a faded input to the whole of [-1, 1], but for a hundredth at either end.

    Measured on photos that were faded to half their range: CIEDE2000 11.15 for 13.56, nearly as
    without fading. What has a wide range stays, and what is nearly even.
    """
    low, high = np.percentile(input, (1, 99))
    if not FLAT < high - low < WIDE:
        return input
    stretched: FloatArray = np.clip(2 * (input - low) / (high - low) - 1, -1, 1)
    return stretched.astype(np.float32)


def _resized(photo: Photo, side: int) -> FloatArray:
    size = small_size(photo.width, photo.height, side)
    image = Image.fromarray(photo.pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    small = np.asarray(image)
    if small.dtype == np.uint8:
        unit: FloatArray = unit_from_uint8(small)
        return unit
    clipped: FloatArray = np.clip(small, 0, 1)
    return clipped
