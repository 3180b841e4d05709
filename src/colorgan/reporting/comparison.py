"""Which of two spaces is nearer the truth, in sentences. Pure functions, as in `analysis.py`."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from colorgan.reporting.inputs import Results, Scores
from colorgan.reporting.measures import (
    CIEDE2000,
    COLORFULNESS_GAP,
    FRECHET_LITE2,
    HUE_SHARE,
    PSNR,
    SSIM,
)
from colorgan.reporting.wording import listed, number, photos_of, title

FEW_SHARED = 10
"""On fewer shared photos than this no interval is computed and no winner named."""
Z_95 = 1.96


def compare_spaces(results: Mapping[str, Results]) -> list[str]:
    """Say which of two spaces is nearer the truth and by how much."""
    if len(results) < 2:
        return [f"Only {title(next(iter(results)))} was evaluated: there is nothing to compare."]
    (first, ours), (second, theirs) = list(results.items())[:2]
    names = (title(first), title(second))
    both = ours.per_photo.merge(theirs.per_photo, on="id", suffixes=("_1", "_2"))
    pairs = both[["ciede2000_1", "ciede2000_2"]].dropna()
    sentences = [_nearer(names, pairs), *_other_measures(names, ours.scores, theirs.scores)]
    if not len(both) == ours.scores.photos == theirs.scores.photos:
        sentences.append(
            f"The two test sets are not the same photos ({len(both)} are in both): measures over "
            "all test photos are not strictly comparable between the spaces."
        )
    return sentences


def _nearer(names: tuple[str, str], pairs: pd.DataFrame) -> str:
    """Name the winner by CIEDE2000 on shared photos, if the paired difference leaves no doubt."""
    n = len(pairs)
    if n < FEW_SHARED:
        return (
            f"{names[0]} and {names[1]} share {photos_of(n)} of their test photos: too few to say "
            "which is nearer the truth."
        )
    means = pairs.mean()
    difference = pairs["ciede2000_2"] - pairs["ciede2000_1"]
    middle, half = difference.mean(), Z_95 * difference.std() / n**0.5
    values = (CIEDE2000.show(means["ciede2000_1"]), CIEDE2000.show(means["ciede2000_2"]))
    if abs(middle) <= half:
        return (
            f"Neither {names[0]} nor {names[1]} is clearly nearer the truth: mean CIEDE2000 is "
            f"{values[0]} and {values[1]}, and the difference of {number(abs(middle), 2)} is "
            f"within its uncertainty (95% interval {number(middle - half, 2)} to "
            f"{number(middle + half, 2)}, on {photos_of(n)} that both hold)."
        )
    winner = 0 if middle > 0 else 1
    low, high = abs(middle) - half, abs(middle) + half
    return (
        f"{names[winner]} is nearer the truth: its mean CIEDE2000 is {values[winner]} against "
        f"{values[1 - winner]} of {names[1 - winner]}, {number(abs(middle), 2)} less (95% interval "
        f"{number(low, 2)} to {number(high, 2)}, on {photos_of(n)} that both hold)."
    )


def _other_measures(names: tuple[str, str], ours: Scores, theirs: Scores) -> list[str]:
    ahead: dict[str, list[str]] = {names[0]: [], names[1]: []}
    for measure in (PSNR, SSIM, FRECHET_LITE2, COLORFULNESS_GAP, HUE_SHARE):
        one, two = ours.generated.get(measure.key), theirs.generated.get(measure.key)
        better = measure.better(one, two)
        if better is None:
            continue
        good, bad = (one, two) if better else (two, one)
        winner = names[0] if better else names[1]
        ahead[winner].append(f"{measure.label} ({measure.show(good)} against {measure.show(bad)})")
    return [
        f"{name} is ahead in {listed(measures)}." for name, measures in ahead.items() if measures
    ]
