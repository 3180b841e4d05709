"""From a row a photo to means: the content of metrics.json and per_class.csv."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from colorgan.evaluation import metrics
from colorgan.evaluation.photo import COLUMNS, COMPARED, MEASURES, PREFIXES, TRUTH_MEASURES

Summary = dict[str, Any]

SIGNIFICANT_DIGITS = 5


def summarise(photos: pd.DataFrame) -> Summary:
    """Return the metrics of one space: means over its photos, not rounded, NaN where unknown.

    Args:
        photos: rows of per_photo.csv of one space.

    Returns:
        `photos` (their number) and a mapping each for `generated`, `gray` and `truth`. A gap is
        |mean colourfulness - mean colourfulness of the truth|; `shift_a_low` and `shift_a_high`
        are the ends of the 95% confidence interval of `shift_a`, likewise of `shift_b`.
    """
    truth = {name: float(photos[PREFIXES["truth"] + name].mean()) for name in TRUTH_MEASURES}
    kinds = {kind: _summarise_kind(photos, kind, truth) for kind in COMPARED}
    return {"photos": len(photos), **kinds, "truth": truth}


def _summarise_kind(photos: pd.DataFrame, kind: str, truth: dict[str, float]) -> dict[str, float]:
    """Return the mean of each measure, with gaps and intervals beside those that have them."""
    means: dict[str, float] = {}
    for name in MEASURES:
        column = photos[PREFIXES[kind] + name]
        # pandas leaves out the photos without a value; none at all gives NaN.
        means[name] = float(column.mean())
        if name in truth:
            means[f"{name}_gap"] = abs(means[name] - truth[name])
        if name.startswith("shift_"):
            interval = metrics.confidence_interval(column)
            means[f"{name}_low"], means[f"{name}_high"] = interval or (math.nan, math.nan)
    return means


def by_class(photos: pd.DataFrame) -> pd.DataFrame:
    """Return `n` and the mean of every measure by space and label.

    The spaces keep their order, the labels are sorted; photos without a label are a class.
    """
    groups = photos.groupby(["space", "label"], sort=False)
    means = groups[list(COLUMNS)].mean()
    means.insert(0, "n", groups.size())
    order = {space: i for i, space in enumerate(photos["space"].unique())}
    return means.reset_index().sort_values(
        ["space", "label"],
        key=lambda column: column.map(order) if column.name == "space" else column,
        ignore_index=True,
    )


def rounded(content: Any) -> Any:
    """Return nested mappings with floats of 5 significant digits; None for those not finite.

    JSON knows no NaN or Infinity, and digits beyond these only make a diff hard to read.
    """
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, float):
        # Adding 0 turns -0.0 into 0.0.
        return float(f"{content:.{SIGNIFICANT_DIGITS}g}") + 0.0 if math.isfinite(content) else None
    return content


def flat(summary: Summary) -> dict[str, float]:
    """Return the rounded metrics of one space under MLflow's keys; unknown ones are left out.

    `test/psnr` is the generated picture's, `test/gray_psnr` the gray one's and
    `test/truth_colorfulness` the truth's.
    """
    return {
        f"test/{prefix}{name}": value
        for kind, prefix in PREFIXES.items()
        for name, value in summary[kind].items()
        if value is not None
    }
