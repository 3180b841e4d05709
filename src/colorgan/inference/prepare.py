"""Prepare the network's input from a picture: find its border, resize, pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorgan.color import (
    AB_SCALE,
    FloatArray,
    lightness_from_srgb,
    unit_from_uint8,
    within_srgb,
)
from colorgan.errors import ColorganError
from colorgan.inference.hints import MOST_HINTS, Hint
from colorgan.inference.image import Picture, Pixels
from colorgan.spaces import Space

NO_SPOTS = np.zeros((0, 4), np.float32)
REACH = 2
"""Pixels of the small copy around a hint's own that have its colour too."""
MAX_ASPECT = 4
"""The longer side of the input is at most this many times `side`."""
STRETCH_ABOVE, STRETCH_BELOW = 0.2, 1.4
"""An input with a range (of 2) between these is faded: less is grain on an even surface, more needs
no stretching."""

BORDER_COPY = 400
"""Longer side, in pixels, of the copy in which a border is searched."""
BORDER_SPREAD = 4.0
"""Largest standard deviation of L in a line of a border; the grain of paper has less."""
BORDER_DIFFERENCE = 6.0
"""Largest difference in L between the lines of one border."""
BORDER_SHARE = 0.3
"""Largest share of a side that a border takes."""


class Box(NamedTuple):
    """A rectangle of pixels: rows `top` up to `bottom`, columns `left` up to `right`."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class PreparedInput:
    """A picture as the network takes it.

    Attributes:
        small: the resized picture inside `box`, in 0..1: `(h, w, 3)` or gray `(h, w)`.
        input: `(I, H, W)` in [-1, 1]: `small` in the middle of its own mirror image, its sides
            multiples of what the network takes.
        top: rows of `input` above the picture.
        left: columns of `input` left of the picture.
        box: the picture without its border.
        size: width and height of the picture.
        spots: colour hints `(N, 4)`: y and x as fractions of `box`, a and b.
    """

    small: FloatArray
    input: FloatArray
    top: int
    left: int
    box: Box
    size: tuple[int, int]
    spots: FloatArray

    def with_hints(self, hints: Sequence[Hint]) -> PreparedInput:
        """Return the input with these colour hints in place of its own.

        ColorganError if they are too many, or one is outside of the picture or in its border.
        """
        if len(hints) > MOST_HINTS:
            raise ColorganError(f"{len(hints)} hints are too many; it should be up to {MOST_HINTS}")
        spots = np.zeros((len(hints), 4), np.float32)
        (width, height), box = self.size, self.box
        for spot, hint in zip(spots, hints, strict=True):
            x, y = hint.fractions(width, height)
            x = (x * width - box.left) / (box.right - box.left)
            y = (y * height - box.top) / (box.bottom - box.top)
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ColorganError(f"hint {hint}: in the border of the picture, which stays gray")
            spot[:] = y, x, *hint.ab()
        return replace(self, spots=spots)

    def hint_places(self) -> FloatArray:
        """Return the hints as `(N, 4)`: row and column in `input`, and a and b there.

        The colours are inside sRGB at the lightness of their places.
        """
        pixels = spot_pixels(self.spots, self.small)
        lightness = lightness_from_srgb(self.small)[tuple(pixels.T)]
        ab = within_srgb(np.column_stack((lightness, self.spots[:, 2:])))[:, 1:]
        return np.column_stack((pixels + np.array((self.top, self.left)), ab)).astype(np.float32)

    def hint_input(self, places: FloatArray) -> FloatArray:
        """Return `hint_places` as the network takes them, `(3, H, W)`: ab / 110 and a mask."""
        hints = np.zeros((3, *self.input.shape[1:]), np.float32)
        for row, column, *ab in places:
            rows = slice(max(0, int(row) - REACH), int(row) + REACH + 1)
            columns = slice(max(0, int(column) - REACH), int(column) + REACH + 1)
            hints[:2, rows, columns] = np.array(ab, np.float32)[:, None, None] / AB_SCALE
            hints[2, rows, columns] = 1
        return hints

    def ab(self, predicted: FloatArray) -> FloatArray:
        """Crop a and b of `input`, `(H, W, 2)`, to those of `small`, `(h, w, 2)`."""
        height, width = self.small.shape[:2]
        return predicted[self.top : self.top + height, self.left : self.left + width]


def spot_pixels(spots: FloatArray, picture: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return row and column `(N, 2)` of `spots` in a picture of any size of their box."""
    shape = picture.shape[:2]
    return np.minimum((spots[:, :2] * shape).astype(np.intp), np.subtract(shape, 1))


def prepare_input(picture: Picture, space: Space, side: int, multiple: int) -> PreparedInput:
    """Resize a picture to `side` pixels on the shorter side and make the network's input of it.

    The aspect ratio stays, up to MAX_ASPECT; both sides of the input are multiples of `multiple`. A
    border is cut off and faded gray is stretched: the network was trained on photos without either.
    """
    box = find_border(picture)
    small = _resized(picture.pixels[box.top : box.bottom, box.left : box.right], side)
    input = _stretched(space.network_input(small))
    padding = []
    for length in input.shape[1:]:
        missing = -length % multiple
        padding.append((missing // 2, missing - missing // 2))
    padded = np.pad(input, ((0, 0), *padding), mode="symmetric")
    (top, _), (left, _) = padding
    return PreparedInput(small, padded, top, left, box, picture.size, NO_SPOTS)


def small_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height with `side` pixels on the shorter side, up to MAX_ASPECT."""
    scale = min(side / min(width, height), MAX_ASPECT * side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def find_border(picture: Picture) -> Box:
    """Return the box inside an even border of paper or black; the whole picture if there is none.

    The border must be on all four sides and alike in lightness: an even sky is on one or two.
    """
    height, width = picture.pixels.shape[:2]
    whole = Box(0, height, 0, width)
    scale = max(1.0, max(width, height) / BORDER_COPY)
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    image = Image.fromarray(picture.pixels).resize(size, Image.Resampling.BOX)
    lightness = lightness_from_srgb(np.asarray(image))
    views = (lightness, lightness[::-1], lightness.T, lightness.T[::-1])
    counts, levels = zip(*map(_even_lines, views), strict=True)
    if not all(counts) or np.ptp(levels) > BORDER_DIFFERENCE:
        return whole
    # One line more than found: the edge lies somewhere inside a line of the smaller copy.
    top, bottom, left, right = (
        int(np.ceil((count + 1) * length / len(view)))
        for count, view, length in zip(counts, views, (height, height, width, width), strict=True)
    )
    box = Box(top, height - bottom, left, width - right)
    return box if box.bottom > box.top and box.right > box.left else whole


def _even_lines(lines: FloatArray) -> tuple[int, float]:
    """Count the even lines of L from the first one on; return the count and their lightness.

    The count is 0 if they take more than BORDER_SHARE.
    """
    most = int(BORDER_SHARE * len(lines)) + 1
    # The ends belong to the borders of the other sides, and may have torn corners: leave them out.
    margin = lines.shape[1] // 10
    middle: npt.NDArray[np.float32] = lines[:most, margin : lines.shape[1] - margin]
    if middle.size == 0:
        return 0, 0.0
    spread, level = middle.std(axis=1), np.median(middle, axis=1)
    even = (spread <= BORDER_SPREAD) & (np.abs(level - level[0]) <= BORDER_DIFFERENCE)
    count = int(np.argmin(even)) if not even.all() else 0
    return count, float(level[0])


def _stretched(input: FloatArray) -> FloatArray:
    """Stretch a faded input to all of [-1, 1], clipping a hundredth at each end.

    On photos faded to half their range the CIEDE2000 was 11.15 instead of 13.56.
    """
    low, high = np.percentile(input, (1, 99))
    if not STRETCH_ABOVE < high - low < STRETCH_BELOW:
        return input
    stretched: FloatArray = np.clip(2 * (input - low) / (high - low) - 1, -1, 1)
    return stretched.astype(np.float32)


def _resized(pixels: Pixels, side: int) -> FloatArray:
    size = small_size(pixels.shape[1], pixels.shape[0], side)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    small = np.asarray(image)
    if small.dtype == np.uint8:
        return unit_from_uint8(small)
    clipped: FloatArray = np.clip(small, 0, 1)
    return clipped
