"""Colour hints: places of a picture, and the colours that a person gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from PIL import ImageColor

from colorgan import color
from colorgan.color import FloatArray
from colorgan.errors import ColorganError

MOST_HINTS = 500
"""Hints that a picture may have."""


@dataclass(frozen=True)
class Hint:
    """The colour of a place, of which hue and chroma are kept, as far as its lightness allows.

    Attributes:
        x, y: the place in the picture as seen, from its upper left corner. A whole number (int) is
            a pixel, from 0; another one (float) is a fraction of the width or height, 0 to 1.
        colour: `#rrggbb`, a CSS name such as `navy`, or a pair (a, b) of CIE Lab.

    Raises:
        ColorganError: the place or the colour is none.
    """

    x: int | float
    y: int | float
    colour: str | tuple[float, float]

    def __post_init__(self) -> None:
        for name, at in (("x", self.x), ("y", self.y)):
            # Written so that NaN is refused too.
            most = math.inf if isinstance(at, Integral) else 1
            if isinstance(at, bool) or not isinstance(at, Real) or not 0 <= at <= most:
                raise ColorganError(
                    f"hint {self}: {name} should be a whole number of pixels, from 0, or a "
                    "fraction from 0.0 to 1.0"
                )
        if not np.isfinite(self.ab()).all():
            raise ColorganError(f"hint {self}: a and b should be finite numbers")

    @classmethod
    def parse(cls, text: str) -> Hint:
        """Read a hint such as `420,310=#2e6b3f` or `0.5,0.2=navy`; ColorganError if it is none."""
        place, _, colour = text.partition("=")
        try:
            x, y = (int(at) if at.strip().isdecimal() else float(at) for at in place.split(","))
        except ValueError:
            raise ColorganError(
                f"hint {text!r}: it should be X,Y=COLOUR, such as 420,310=#2e6b3f or 0.5,0.2=navy"
            ) from None
        return cls(x, y, colour)

    def __str__(self) -> str:
        return f"{self.x},{self.y}={self.colour}"

    def ab(self) -> FloatArray:
        """Return a and b `(2,)` of the colour."""
        try:
            if not isinstance(self.colour, str):
                a, b = map(float, self.colour)
                return np.array((a, b), np.float32)
            rgb = np.array([ImageColor.getrgb(self.colour)[:3]], np.float32) / 255
        except (TypeError, ValueError):
            raise ColorganError(
                f"hint {self}: the colour should be #rrggbb, a CSS name such as navy, or a pair "
                "(a, b)"
            ) from None
        ab: FloatArray = color.lab_from_rgb(rgb.clip(0, 1))[0, 1:]
        return ab

    def fractions(self, width: int, height: int) -> tuple[float, float]:
        """Return the place as fractions; ColorganError if it is outside a picture of this size."""
        sides = (self.x, width), (self.y, height)
        if any(isinstance(at, Integral) and at >= length for at, length in sides):
            raise ColorganError(
                f"hint {self}: outside of the picture, which has {width} x {height} pixels"
            )
        x, y = (
            (float(at) + 0.5) / length if isinstance(at, Integral) else float(at)
            for at, length in sides
        )
        return x, y
