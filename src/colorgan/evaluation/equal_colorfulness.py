"""Compare models at equal colourfulness, so that pale and garish models have no advantage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.evaluation.metrics import FloatArray, colorfulness
from colorgan.spaces import LAB

SHARE = 0.85
"""The colourfulness to reach, as a share of that of the truth; both are means over photos."""
MAX_GAIN = 4.0
GAINS = np.geomspace(MAX_GAIN / 64, MAX_GAIN, 25)
"""Gains at which colourfulness is measured; in between it is interpolated."""
WORST = 100.0
"""CIEDE2000 of black and white: the score of a model that is too pale at the largest gain."""
GRAY = 1.0
"""Photos of less mean colourfulness than this are gray."""


def at_gain(lightness: Tensor, ab: Tensor, gain: float) -> UInt8Array:
    """Return pictures `(N, H, W, 3)` uint8 sRGB with `gain` times the predicted colours.

    `lightness` is L / 50 - 1, `(N, 1, H, W)`, and `ab` is ab / 110, `(N, 2, H, W)`.
    """
    pictures: UInt8Array = color.uint8_from_unit(LAB().decode(lightness, ab, gain)).numpy()
    return pictures


def equal_gain(batches: Iterable[tuple[Tensor, Tensor, UInt8Array]]) -> tuple[float, bool]:
    """Find the gain at which predicted colours are `SHARE` as colourful as the truth.

    Batches are lightness and ab as for `at_gain`, and the true pictures `(N, H, W, 3)`; none is
    kept. Colourfulness is that of Hasler and Suesstrunk, within 0.5% of the aim at the gain found.

    Returns the gain, and whether it is enough: `MAX_GAIN` and False for too pale a model.
    ColorganError if the truth is gray.
    """
    found, true, count = np.zeros(len(GAINS)), 0.0, 0
    for lightness, ab, truth in batches:
        for i, gain in enumerate(GAINS):
            shown = at_gain(lightness[..., ::2, ::2], ab[..., ::2, ::2], gain)
            found[i] += colorfulness(shown).sum()
        true += colorfulness(truth[:, ::2, ::2]).sum()
        count += len(truth)
    found, true = found / count, true / count
    if true < GRAY:
        raise ColorganError(
            f"the photos are gray (mean colourfulness {true:.2f}), so colours cannot be "
            "measured on them; they should be colour photos: `min_chroma` in params.yaml, such "
            "as 2, rejects gray ones"
        )
    aim = SHARE * true
    if found.max() < aim:
        return MAX_GAIN, False
    if found[0] > aim:
        return float(GAINS[0] * aim / found[0]), True
    # In logarithms colourfulness is nearly a straight line.
    curve = PchipInterpolator(np.log(GAINS), np.log(np.maximum(found, 1e-6)))
    return float(np.exp(curve.solve(np.log(aim), extrapolate=False)[0])), True


def ciede2000_ecf(errors: Sequence[float] | FloatArray, reached: bool) -> float:
    """Return the mean of the photos' CIEDE2000 at equal colourfulness, `WORST` if not reached."""
    return float(np.mean(errors)) if reached else WORST
