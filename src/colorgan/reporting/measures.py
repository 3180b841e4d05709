"""How measures and hues are shown: names, units, digits, and which direction is better."""

from __future__ import annotations

import math
from dataclasses import dataclass

EN_DASH = "\u2013"


def number(value: float, digits: int) -> str:
    """Format a number with a true minus sign, and no minus before a zero."""
    return f"{value:z.{digits}f}".replace("-", "\u2212")


def readable(label: object) -> str:
    """Return a class label with spaces instead of underscores."""
    return str(label).replace("_", " ")


@dataclass(frozen=True)
class Measure:
    """How one measure is shown."""

    key: str  # in metrics.json
    label: str  # in a sentence
    short: str  # heading of its column in the terminal, on two lines
    unit: str = ""  # follows the number, with its own space
    digits: int = 2
    higher_is_better: bool | None = None  # None if neither direction is better
    factor: float = 1.0  # on the number that is shown

    @property
    def heading(self) -> str:
        """The label and the unit, for a table whose cells are `bare`."""
        title = self.label[:1].upper() + self.label[1:]
        return f"{title} ({self.unit.strip()})" if self.unit else title

    @property
    def direction(self) -> str:
        """Which direction is better, in words."""
        return {True: "higher is better", False: "lower is better", None: ""}[self.higher_is_better]

    def bare(self, value: float | None) -> str:
        """Return the number without its unit, or a dash if it is unknown."""
        if value is None or not math.isfinite(value):
            return EN_DASH
        return number(value * self.factor, self.digits)

    def show(self, value: float | None) -> str:
        """Return the number with its unit, or a dash if it is unknown."""
        text = self.bare(value)
        return text if text == EN_DASH else text + self.unit

    def better(self, value: float | None, other: float | None) -> bool | None:
        """Say whether `value` is better than `other`; None if equal as shown, or unknown."""
        if value is None or other is None or self.higher_is_better is None:
            return None
        if self.show(value) == self.show(other):
            return None
        return (value > other) == self.higher_is_better


PSNR = Measure("psnr", "PSNR", "PSNR\ndB ↑", " dB", 2, True)
SSIM = Measure("ssim", "SSIM", "SSIM\n↑", "", 3, True)
CIEDE2000 = Measure("ciede2000", "CIEDE2000", "CIEDE\n2000 ↓", "", 2, False)
COLORFULNESS = Measure("colorfulness", "colourfulness", "colour-\nfulness", "", 1)
MEASURES = (
    PSNR,
    SSIM,
    CIEDE2000,
    Measure("frechet_lite2", "Fréchet distance (Lite2)", "FD ↓\nLite2", "", 1, False),
    Measure("gain", "gain of equal colourfulness (ECF)", "gain"),
    Measure("ciede2000_ecf", "CIEDE2000 at ECF", "CIEDE\nECF ↓", "", 2, False),
    Measure("frechet_lite2_ecf", "Fréchet distance (Lite2) at ECF", "FD ↓\nECF", "", 1, False),
    COLORFULNESS,
    Measure("colorfulness_gap", "colourfulness gap", "gap\n↓", "", 1, False),
    Measure("hue_share", "share of right hues", "hue\n% ↑", "%", 1, True, 100),
)
SHIFTS = tuple(Measure(f"shift_{axis}", f"shift {axis}", f"shift\n{axis}", "", 1) for axis in "ab")

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
"""Names of the hue angles of Lab in degrees, from and up to; sRGB's red is at 40, blue at 306."""
FIRST_HUE = HUES[0][1]


def turned(hue: float) -> float:
    """Return a hue in degrees on the circle that starts at `FIRST_HUE`, so that no name is cut."""
    return (hue - FIRST_HUE) % 360 + FIRST_HUE


def hue_name(hue: float) -> str:
    """Return the name of a hue angle of Lab, in degrees."""
    angle = turned(hue)
    return next(name for name, start, end in HUES if start <= angle < end)
