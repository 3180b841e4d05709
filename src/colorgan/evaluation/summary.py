"""Means over per_photo.csv: the content of metrics.json and per_class.csv."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Summary = dict[str, Any]

MEASURES = (
    "psnr",
    "ssim",
    "ciede2000",
    "colorfulness",
    "colorfulness_abs",
    "hue_share",
    "shift_a",
    "shift_b",
)
"""Functions of metrics.py that are measured of the generated and the gray picture."""
TRUTH_MEASURES = ("colorfulness", "colorfulness_abs")
"""What is measured of the truth alone."""
PREFIXES = {"generated": "", "truth": "truth_", "gray": "gray_"}
"""Prefix of the columns of per_photo.csv for each kind of picture."""
COLUMNS = (
    *MEASURES,
    *(PREFIXES["truth"] + name for name in TRUTH_MEASURES),
    *(PREFIXES["gray"] + name for name in MEASURES),
)
"""The columns of per_photo.csv that hold measures."""

RESAMPLES = 2000
RESAMPLES_AT_ONCE = 50
"""Bounds the memory of the bootstrap: 3 MB of indices for 8000 photos."""


def summarise(photos: pd.DataFrame) -> Summary:
    """Return the metrics of one space: means over its rows of per_photo.csv, NaN where unknown.

    They are `photos` (their number) and one mapping each for `generated`, `gray` and `truth`. A
    `_gap` is |mean colourfulness - mean colourfulness of the truth|; `shift_a_low` and
    `shift_a_high` are the ends of the 95% confidence interval of `shift_a`, likewise for `shift_b`.
    """
    truth = {name: float(photos[PREFIXES["truth"] + name].mean()) for name in TRUTH_MEASURES}
    kinds = {kind: _means(photos, PREFIXES[kind], truth) for kind in ("generated", "gray")}
    return {"photos": len(photos), **kinds, "truth": truth}


def _means(photos: pd.DataFrame, prefix: str, truth: dict[str, float]) -> dict[str, float]:
    """Return the mean of each measure, followed by its gap or interval if it has one."""
    means: dict[str, float] = {}
    for name in MEASURES:
        column = photos[prefix + name]
        # pandas skips NaN; a column of NaN has the mean NaN.
        means[name] = float(column.mean())
        if name in truth:
            means[f"{name}_gap"] = abs(means[name] - truth[name])
        if name.startswith("shift_"):
            means[f"{name}_low"], means[f"{name}_high"] = confidence_interval(column)
    return means


def confidence_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Return the 95% confidence interval of the mean over photos; NaN for fewer than 3 photos.

    The percentile bootstrap with 2000 resamples and a fixed seed, so the same photos give the same
    interval. The photos are the sample: pixels of one photo are not independent.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 3:
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    means = [
        sample[rng.integers(0, len(sample), (RESAMPLES_AT_ONCE, len(sample)))].mean(axis=1)
        for _ in range(RESAMPLES // RESAMPLES_AT_ONCE)
    ]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def by_class(photos: pd.DataFrame) -> pd.DataFrame:
    """Return the number of photos `n` and the mean of every measure by space and label, sorted.

    Photos without a label are a class of their own.
    """
    groups = photos.groupby(["space", "label"])
    means = groups[list(COLUMNS)].mean()
    means.insert(0, "n", groups.size())
    return means.reset_index()


def rounded(content: Any) -> Any:
    """Return nested mappings with floats of 5 significant digits; None for NaN and infinity.

    JSON has no NaN, and more digits would only make diffs hard to read.
    """
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, float):
        # Adding 0 turns -0.0 into 0.0.
        return float(f"{content:.5g}") + 0.0 if math.isfinite(content) else None
    return content


def flat(summary: Summary) -> dict[str, float]:
    """Return the rounded metrics of one space by their MLflow keys; unknown ones are left out.

    `test/psnr` is the generated picture's, `test/gray_psnr` the gray picture's and
    `test/truth_colorfulness` the truth's.
    """
    return {
        f"test/{prefix}{name}": value
        for kind, prefix in PREFIXES.items()
        for name, value in summary[kind].items()
        if value is not None
    }
