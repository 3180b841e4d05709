"""The border of a scan: paper or black around a picture, which is not to be coloured."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorgan.color import FloatArray, lightness_from_srgb
from colorgan.inference.image import Photo

LOOKED_AT = 400
"""Pixels of the longer side of the copy that is looked at."""
EVEN = 4.0
"""Standard deviation of L up to which a line counts as even; the grain of paper is within it."""
ALIKE = 6.0
"""How far the L of even lines may be apart in one border."""
MOST = 0.3
"""Share of a side that a border may take."""


class Box(NamedTuple):
    """Where the picture lies: rows from `top` to before `bottom`, columns likewise."""

    top: int
    bottom: int
    left: int
    right: int


def find_picture(photo: Photo) -> Box:
    """Find the picture inside an even border that goes all around it.

    All four sides must have it, alike in lightness: an even sky is on one or two. Where there is
    none the box is the whole photo.
    """
    whole = Box(0, photo.height, 0, photo.width)
    scale = max(1.0, max(photo.width, photo.height) / LOOKED_AT)
    size = (max(1, round(photo.width / scale)), max(1, round(photo.height / scale)))
    image = Image.fromarray(photo.pixels).resize(size, Image.Resampling.BOX)
    lightness = lightness_from_srgb(np.asarray(image))
    sides = [_even_lines(lines) for lines in (
        lightness, lightness[::-1], lightness.T, lightness.T[::-1],
    )]  # fmt: skip
    if not all(count for count, _ in sides) or np.ptp([level for _, level in sides]) > ALIKE:
        return whole
    # A pixel further in: the copy's lines lie across the edge.
    top, bottom, left, right = (
        int(np.ceil((count + 1) * length / small))
        for (count, _), length, small in zip(
            sides, (photo.height, photo.height, photo.width, photo.width),
            (size[1], size[1], size[0], size[0]), strict=True,
        )
    )  # fmt: skip
    box = Box(top, photo.height - bottom, left, photo.width - right)
    return box if box.bottom > box.top and box.right > box.left else whole


def _even_lines(lines: FloatArray) -> tuple[int, float]:
    """Count the even lines from the first one on, and return their lightness.

    None count where they take more of the picture than a border does.
    """
    most = int(MOST * len(lines)) + 1
    # Its ends may have the border of the other sides, torn corners or a hole: the middle counts.
    margin = lines.shape[1] // 10
    middle: npt.NDArray[np.float32] = lines[:most, margin : lines.shape[1] - margin]
    if middle.size == 0:
        return 0, 0.0
    spread, mean = middle.std(axis=1), np.median(middle, axis=1)
    even = (spread <= EVEN) & (np.abs(mean - mean[0]) <= ALIKE)
    count = int(np.argmin(even)) if not even.all() else 0
    return count, float(mean[0])
