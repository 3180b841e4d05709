"""The measures of a coloured photo as people read them: names, units, digits, which way is better.

Also the names of hues. The numbers themselves come from the evaluation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from colorgan.reporting.wording import EN_DASH, number


@dataclass(frozen=True)
class Measure:
    """How one measure is read.

    Attributes:
        key: its name in metrics.json.
        label: its name in words.
        unit: what stands behind the number, with its own space.
        digits: decimals that are shown.
        higher_is_better: None where neither direction is better in itself.
        factor: what the number is multiplied by before it is shown.
    """

    key: str
    label: str
    unit: str = ""
    digits: int = 2
    higher_is_better: bool | None = None
    factor: float = 1.0

    def show(self, value: float | None) -> str:
        """Return the number with its unit, or a dash where there is none."""
        return EN_DASH if value is None else self.bare(value) + self.unit

    def bare(self, value: float) -> str:
        """Return the number without its unit, for a table that has it in the head."""
        return number(value * self.factor, self.digits)

    def better(self, value: float | None, other: float | None) -> bool | None:
        """Say if `value` is better than `other`; None: equal as shown, or it cannot be said."""
        if value is None or other is None or self.higher_is_better is None:
            return None
        if self.show(value) == self.show(other):
            return None
        return (value > other) == self.higher_is_better


PSNR = Measure("psnr", "PSNR", " dB", 2, True)
SSIM = Measure("ssim", "SSIM", "", 3, True)
CIEDE2000 = Measure("ciede2000", "CIEDE2000", "", 2, False)
COLORFULNESS = Measure("colorfulness", "colourfulness", "", 1)
COLORFULNESS_GAP = Measure("colorfulness_gap", "colourfulness gap", "", 1, False)
HUE_SHARE = Measure("hue_share", "share of right hues", "%", 1, True, 100)
FRECHET_LITE2 = Measure("frechet_lite2", "Fréchet distance (Lite2)", "", 1, False)
FID = Measure("fid", "FID", "", 1, False)
LPIPS = Measure("lpips", "LPIPS", "", 3, False)

HUES: tuple[tuple[str, int, int], ...] = (
    ("pink", -20, 10),
    ("red", 10, 50),
    ("orange", 50, 80),
    ("yellow", 80, 110),
    ("green", 110, 170),
    ("cyan", 170, 220),
    ("blue", 220, 310),
    ("purple", 310, 340),
)
"""Names of hue angles of Lab in degrees, from and up to; sRGB's red is at 40, its blue at 306."""

FIRST_HUE = HUES[0][1]
"""Where the circle of hues is cut open, so that no name is cut in two."""


def turned(hue: float) -> float:
    """Return a hue in degrees on the circle that starts at `FIRST_HUE`."""
    return (hue - FIRST_HUE) % 360 + FIRST_HUE


def hue_name(hue: float) -> str:
    """Return the name of a hue angle of Lab, in degrees."""
    angle = turned(hue)
    return next(name for name, start, end in HUES if start <= angle < end)


def present(value: object) -> float | None:
    """Return a finite number as float; None for anything else (null, NaN, infinity)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
