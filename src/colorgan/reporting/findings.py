"""Findings of the report: sentences that say what the metrics show.

A sentence claims no more than the numbers support: a bias needs an interval without zero and a
visible size, a better space needs a significant difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from colorgan.evaluation.metrics import CHROMATIC
from colorgan.reporting.measures import CIEDE2000, COLORFULNESS, hue_name, number
from colorgan.reporting.results import Results, Scores

FEW_PHOTOS = 100
"""With fewer test photos than this the report warns."""
FEW_SHARED = 10
"""With fewer shared photos than this two spaces are not compared."""
VISIBLE_SHIFT = 1.0
"""A mean shift along a or b below this is no bias: about the smallest difference one can see."""
COLORFUL_MARGIN = 0.1
"""Colourfulness within this share of the truth's counts as the same."""
HUE_MARGIN = 0.01
"""A hue is produced too often or too seldom from this share of all pixels on..."""
HUE_RATIO = 1.25
"""...and if it is this many times as frequent as it should be, or the reverse."""
Z_95 = 1.96

AXES = {"a": ("green", "red"), "b": ("blue", "yellow")}
"""The chroma axes of Lab, with the colours at their negative and positive ends."""


def sample_size(scores: Mapping[str, Scores]) -> list[str]:
    """Say how many photos were measured, and warn if they are few."""
    counts = {space: score.photos for space, score in scores.items()}
    told = " and ".join(f"{_photos(count)} for {space.upper()}" for space, count in counts.items())
    sentences = [f"Measured on test photos that were not used in training: {told}."]
    if min(counts.values()) < FEW_PHOTOS:
        sentences.append(
            f"Caution: with fewer than {FEW_PHOTOS} test photos every number here is rough. Small "
            "differences may be chance."
        )
    return sentences


def compare_spaces(results: Mapping[str, Results]) -> list[str]:
    """Say which of two spaces is nearer the truth and by how much."""
    if len(results) < 2:
        return [f"Only {next(iter(results)).upper()} was evaluated: there is nothing to compare."]
    (first, ours), (second, theirs) = list(results.items())[:2]
    names = (first.upper(), second.upper())
    both = ours.per_photo.merge(theirs.per_photo, on="id", suffixes=("_1", "_2"))
    sentences = [_nearer(names, both[["ciede2000_1", "ciede2000_2"]].dropna())]
    if not len(both) == ours.scores.photos == theirs.scores.photos:
        sentences.append(
            f"The test sets are not the same photos ({len(both)} are in both): measures over all "
            "test photos are not strictly comparable."
        )
    return sentences


def _nearer(names: tuple[str, str], pairs: pd.DataFrame) -> str:
    """Name the better space by CIEDE2000 on shared photos, if the difference is significant."""
    n = len(pairs)
    if n < FEW_SHARED:
        return (
            f"{names[0]} and {names[1]} share {_photos(n)} of their test photos: too few to say "
            "which is nearer the truth."
        )
    means = [CIEDE2000.show(mean) for mean in pairs.mean()]
    difference = pairs["ciede2000_2"] - pairs["ciede2000_1"]
    middle, half = difference.mean(), Z_95 * difference.std() / n**0.5
    winner = 0 if middle > 0 else 1
    if abs(middle) <= half:
        verdict = f"Neither {names[0]} nor {names[1]} is clearly nearer the truth"
    else:
        verdict = f"{names[winner]} is nearer the truth"
    interval = " to ".join(number(abs(middle) + end, 2) for end in (-half, half))
    return (
        f"{verdict}: the mean CIEDE2000 of {names[winner]} is {means[winner]}, that of "
        f"{names[1 - winner]} {means[1 - winner]}. The difference is {number(abs(middle), 2)} (95% "
        f"interval {interval}, on {_photos(n)} that both hold)."
    )


def against_gray(per_photo: pd.DataFrame) -> list[str]:
    """Say how many photos colouring brings nearer to the truth than leaving them gray."""
    pairs = per_photo[["ciede2000", "gray_ciede2000"]].dropna()
    nearer = int((pairs["ciede2000"] < pairs["gray_ciede2000"]).sum())
    return [
        f"By CIEDE2000, {nearer} of {_photos(len(pairs))} are nearer the truth coloured than gray."
    ]


def color_bias(scores: Scores) -> list[str]:
    """Say whether the pictures lean towards green or red (a), blue or yellow (b)."""
    return [_lean(axis, scores) for axis in AXES]


def _lean(axis: str, scores: Scores) -> str:
    key, (negative, positive) = f"shift_{axis}", AXES[axis]
    shift, low, high = (scores.generated.get(key + end) for end in ("", "_low", "_high"))
    if shift is None or low is None or high is None:
        return f"A {negative} or {positive} bias could not be measured: too few photos."
    numbers = (
        f"mean shift along {axis} {number(shift, 1)}, 95% interval {number(low, 1)} to "
        f"{number(high, 1)}"
    )
    if low <= 0 <= high:
        return f"No clear {negative} or {positive} bias: the interval includes zero ({numbers})."
    if abs(shift) < VISIBLE_SHIFT:
        return (
            f"No visible {negative} or {positive} bias: the shift is below "
            f"{number(VISIBLE_SHIFT, 0)}, about the smallest that one can see ({numbers})."
        )
    color, opposite = (positive, negative) if shift > 0 else (negative, positive)
    gray = scores.gray.get(key)
    if gray is not None and gray * shift > 0 and abs(gray) >= abs(shift):
        # Photos are not neutral on average, so a gray picture is shifted, too.
        numbers += (
            f"; the gray photo is shifted by {number(gray, 1)}, so this may be too little "
            f"{opposite} rather than too much {color}"
        )
    return f"There is a {color} bias: {numbers}."


def colorfulness(scores: Scores) -> list[str]:
    """Say whether the pictures are too colourful or too pale."""
    ours = scores.generated.get(COLORFULNESS.key)
    truth = scores.truth.get(COLORFULNESS.key)
    if ours is None or not truth:
        return ["Colourfulness could not be measured."]
    numbers = f"({COLORFULNESS.show(ours)} against {COLORFULNESS.show(truth)})"
    share = ours / truth - 1
    if abs(share) > COLORFUL_MARGIN:
        verdict, more = ("Too colourful", "more") if share > 0 else ("Too pale", "less")
        return [
            f"{verdict}: on average {abs(share):.0%} {more} colourful than the true photos "
            f"{numbers}."
        ]
    return [f"About as colourful as the true photos on average {numbers}."]


def hue_balance(hues: pd.DataFrame) -> list[str]:
    """Say which hues are produced too often and which too seldom."""
    shares = hues[["truth", "generated"]]
    totals = shares.sum()
    sentences = [
        f"{totals['generated']:.0%} of the generated pixels have a visible colour (chroma of "
        f"{CHROMATIC:g} or more), {totals['truth']:.0%} of the true ones."
    ]
    named = shares.groupby(hues["hue"].map(hue_name), sort=False).sum()
    over, under = (
        _off_balance(named, *order) for order in (("generated", "truth"), ("truth", "generated"))
    )
    if over:
        sentences.append(f"Produced too often: {_listed(over)}.")
    if under:
        sentences.append(f"Produced too seldom: {_listed(under)}.")
    if not over and not under:
        sentences.append(
            f"No hue is off by {HUE_MARGIN:.0%} of all pixels and a factor of {HUE_RATIO:g}."
        )
    return sentences


def _off_balance(shares: pd.DataFrame, more: str, less: str) -> list[str]:
    """Name the hues with clearly larger shares in one column than in the other, largest first."""
    excess = (shares[more] - shares[less]).sort_values(ascending=False, kind="stable")
    ranked = shares.loc[excess.index]
    off = ranked[(excess >= HUE_MARGIN) & (ranked[more] >= HUE_RATIO * ranked[less])]
    return [
        f"{name} ({generated:.1%} of all pixels against {truth:.1%})"
        for name, generated, truth in zip(off.index, off["generated"], off["truth"], strict=True)
    ]


def _photos(count: int) -> str:
    return f"{count} photo" if count == 1 else f"{count} photos"


def _listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
