"""What the numbers say, in sentences. Pure functions: measures in, sentences out.

A sentence claims no more than the numbers carry: a bias needs an interval that excludes zero and
a shift one could see, a class needs some photos. Which space is nearer the truth: `comparison.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from colorgan.config import EvaluateParams
from colorgan.reporting.inputs import Results, Scores
from colorgan.reporting.measures import (
    CIEDE2000,
    COLORFULNESS,
    COLORFULNESS_GAP,
    FID,
    FRECHET_LITE2,
    HUE_SHARE,
    LPIPS,
    PSNR,
    SSIM,
    Measure,
    hue_name,
)
from colorgan.reporting.wording import capital, listed, number, photos_of, readable, title

FEW_PHOTOS = 100
"""Fewer test photos than this call for caution."""
FEW_IN_CLASS = 3
"""Classes with fewer photos than this are not ranked."""
VISIBLE_SHIFT = 1.0
"""A mean shift along a or b below this is no bias: about the least difference an eye can see."""
COLORFUL_MARGIN = 0.1
"""Colourfulness within this share of the truth's counts as the same."""
HUE_MARGIN = 0.01
"""A hue is over- or under-produced from this share of all pixels on..."""
HUE_RATIO = 1.25
"""...and if it is this many times as frequent as it should be, or the reverse."""


@dataclass(frozen=True)
class Axis:
    """One axis of Lab and the colours at its ends."""

    name: str
    negative: str
    positive: str


AXES = (Axis("a", "green", "red"), Axis("b", "blue", "yellow"))


def sample_size(scores: Mapping[str, Scores]) -> list[str]:
    """Say how many photos the measures rest on, and warn where they are few."""
    counts = {space: score.photos for space, score in scores.items()}
    told = " and ".join(f"{photos_of(count)} for {title(space)}" for space, count in counts.items())
    sentences = [f"Measured on test photos that no training has seen: {told}."]
    if min(counts.values()) < FEW_PHOTOS:
        sentences.append(
            f"Caution: with fewer than {FEW_PHOTOS} test photos every figure here is rough; "
            "another choice of photos could turn small differences round."
        )
    return sentences


def against_gray(results: Results) -> list[str]:
    """Say of each measure if colouring is better or worse than leaving the photo gray."""
    sentences = []
    scores = results.scores
    measures = [PSNR, SSIM, CIEDE2000, FRECHET_LITE2, COLORFULNESS_GAP]
    if FRECHET_LITE2.key not in scores.generated:
        measures.remove(FRECHET_LITE2)
    for measure in measures:
        sentences.append(_against_gray(measure, scores))
    pairs = results.per_photo[["ciede2000", "gray_ciede2000"]].dropna()
    if len(pairs):
        nearer = int((pairs["ciede2000"] < pairs["gray_ciede2000"]).sum())
        sentences.append(
            f"The coloured photo is nearer the truth than the gray one (by CIEDE2000) on {nearer} "
            f"of {photos_of(len(pairs))}."
        )
    return sentences


def _against_gray(measure: Measure, scores: Scores) -> str:
    ours, gray = scores.generated.get(measure.key), scores.gray.get(measure.key)
    if ours is None or gray is None:
        return f"{capital(measure.label)} could not be measured."
    figures = f"({measure.show(ours)} against {measure.show(gray)})"
    better = measure.better(ours, gray)
    if better is None:
        return f"No different from leaving the photo gray in {measure.label} {figures}."
    return (
        f"{'Better' if better else 'Worse'} than leaving the photo gray in {measure.label} by "
        f"{measure.show(abs(ours - gray))} {figures}."
    )


def color_bias(scores: Scores) -> list[str]:
    """Say if the pictures lean towards green or red (a), blue or yellow (b)."""
    return [_lean(axis, scores) for axis in AXES]


def _lean(axis: Axis, scores: Scores) -> str:
    key = f"shift_{axis.name}"
    shift = scores.generated.get(key)
    low, high = scores.generated.get(f"{key}_low"), scores.generated.get(f"{key}_high")
    ends = f"{axis.negative} or {axis.positive}"
    if shift is None or low is None or high is None:
        return f"A {ends} bias could not be measured: the shift along {axis.name} has no interval."
    figures = (
        f"mean shift along {axis.name} {number(shift, 1)}, 95% interval {number(low, 1)} to "
        f"{number(high, 1)}"
    )
    if low <= 0 <= high:
        return f"No {ends} bias can be told: the interval includes zero ({figures})."
    if abs(shift) < VISIBLE_SHIFT:
        return (
            f"No {ends} bias to speak of: the shift is not chance, but smaller than "
            f"{number(VISIBLE_SHIFT, 0)}, about the least one can see ({figures})."
        )
    color, opposite = axis.negative, axis.positive
    if shift > 0:
        color, opposite = opposite, color
    gray = scores.gray.get(key)
    if gray is not None and gray * shift > 0 and abs(gray) >= abs(shift):
        # Photos are not neutral on average: whoever paints nothing at all leans, too.
        figures += (
            f"; the photo left gray is shifted by {number(gray, 1)}, so this may be too little "
            f"{opposite} rather than too much {color}"
        )
    return f"There is a {color} bias: {figures}."


def colorfulness(scores: Scores) -> list[str]:
    """Say if the pictures are too colourful or too pale, and what that does not say."""
    ours = scores.generated.get(COLORFULNESS.key)
    truth = scores.truth.get(COLORFULNESS.key)
    if ours is None or not truth:
        return ["Colourfulness could not be measured."]
    figures = f"({COLORFULNESS.show(ours)} against {COLORFULNESS.show(truth)})"
    share = ours / truth - 1
    if abs(share) > COLORFUL_MARGIN:
        kind = "Over-colourful" if share > 0 else "Under-colourful"
        amount = f"{abs(share):.0%} {'more' if share > 0 else 'less'} colourful"
        return [f"{kind}: on average {amount} than the true photos {figures}."]
    sentences = [f"About as colourful as the true photos on average {figures}."]
    if CIEDE2000.better(scores.generated.get("ciede2000"), scores.gray.get("ciede2000")) is False:
        sentences.append(
            "The right amount of colour is not the right colour: by CIEDE2000 these pictures are "
            "farther from the truth than the gray ones."
        )
    return sentences


def right_hues(scores: Scores, tolerance: float) -> list[str]:
    """Say how often the hue is right, beside what guessing would give."""
    share = scores.generated.get(HUE_SHARE.key)
    if share is None:
        return ["The share of right hues could not be measured: no test photo has enough colour."]
    guess = min(1.0, tolerance / 180)
    return [
        f"Where the truth has colour, the hue is right within {tolerance:g}° on "
        f"{HUE_SHARE.show(share)} of the pixels; a hue drawn at random would be on "
        f"{HUE_SHARE.show(guess)}."
    ]


def hue_balance(hues: pd.DataFrame, chromatic: float) -> list[str]:
    """Say which hues are produced too often and which too seldom.

    Args:
        hues: columns hue (degrees), truth and generated (shares of all pixels).
        chromatic: chroma from which on a pixel was counted as having a hue.
    """
    names = hues["hue"].map(hue_name)
    sums = hues[["truth", "generated"]].groupby(names, sort=False).sum()
    totals = hues[["truth", "generated"]].sum()
    sentences = [
        f"{totals['generated']:.0%} of the generated pixels have a visible colour (chroma of "
        f"{chromatic:g} or more), {totals['truth']:.0%} of the true ones."
    ]
    over, under = _off_balance(sums, "generated", "truth"), _off_balance(sums, "truth", "generated")
    if over:
        sentences.append(f"Produced too often: {listed(over)}.")
    if under:
        sentences.append(f"Produced too seldom: {listed(under)}.")
    if not over and not under:
        sentences.append(
            f"No hue is off by {HUE_MARGIN:.0%} of all pixels and a factor of {HUE_RATIO:g}."
        )
    return sentences


def _off_balance(sums: pd.DataFrame, more: str, less: str) -> list[str]:
    """Name the hues with more in the one column than in the other, the farthest off first."""
    excess = (sums[more] - sums[less]).sort_values(ascending=False, kind="stable")
    ranked = sums.loc[excess.index]
    off = ranked[(excess >= HUE_MARGIN) & (ranked[more] >= HUE_RATIO * ranked[less])]
    return [
        f"{name} ({generated:.1%} of all pixels against {truth:.1%})"
        for name, generated, truth in zip(off.index, off["generated"], off["truth"], strict=True)
    ]


def classes(per_class: pd.DataFrame, named: int = 3) -> list[str]:
    """Say which classes are coloured best and worst by CIEDE2000, of those with enough photos."""
    labelled = per_class[per_class["label"] != ""].dropna(subset=["ciede2000"])
    if labelled.empty:
        return ["The test photos carry no class labels."]
    enough = labelled[labelled["n"] >= FEW_IN_CLASS]
    ranked = enough.sort_values(["ciede2000", "label"], kind="stable")
    few = len(labelled) - len(ranked)
    sentences = []
    if len(ranked) >= 2:
        named = min(named, len(ranked) // 2)
        sentences += [
            f"Coloured best: {listed(_classes(ranked.head(named)))}.",
            f"Coloured worst: {listed(_classes(ranked.tail(named)[::-1]))}.",
        ]
    else:
        sentences.append("Too few classes have enough test photos to rank them.")
    if few:
        sentences.append(
            f"{few} of {len(labelled)} classes {'has' if few == 1 else 'have'} fewer than "
            f"{FEW_IN_CLASS} test photos: too few to say anything about them."
        )
    return sentences


def absent_measures(scores: Mapping[str, Scores], params: EvaluateParams) -> list[str]:
    """Say which distances of networks were not computed, and what the others are good for."""
    downloaded = ", because it needs a network that is downloaded"
    asked = (
        (FRECHET_LITE2, "evaluate.frechet", params.frechet, ""),
        (FID, "evaluate.fid", params.fid, downloaded),
        (LPIPS, "evaluate.lpips", params.lpips, downloaded),
    )
    absent, sentences = set(), []
    for measure, name, on, reason in asked:
        if all(score.generated.get(measure.key) is None for score in scores.values()):
            absent.add(measure)
            why = f"{name} is on, but it gave no number" if on else f"{name} is off{reason}"
            sentences.append(f"{measure.label} was not computed: {why}.")
    if absent >= {FRECHET_LITE2, FID}:
        sentences.append(
            "Without a Fréchet distance this report measures how near the colours are to those of "
            "this very photo, not how natural they look: a believable but different colour counts "
            "as an error."
        )
    return [
        *sentences,
        "A Fréchet distance compares the distributions of features of all pictures with those of "
        "all true photos, not photo by photo. It is too large, the more so the fewer the photos: "
        "compare it only between pictures of the same photos. The one on features of "
        "EfficientNet-Lite2 is on another scale than FID and cannot be set beside it.",
    ]


def _classes(rows: pd.DataFrame) -> list[str]:
    return [
        f"{readable(label)} ({CIEDE2000.show(value)}, n = {n:.0f})"
        for label, value, n in zip(rows["label"], rows["ciede2000"], rows["n"], strict=True)
    ]
