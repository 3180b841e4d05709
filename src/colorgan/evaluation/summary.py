"""Means over per_photo.csv: the content of metrics.json and per_class.csv, and a table of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich import box
from rich.table import Table

from colorgan import paths
from colorgan.errors import ColorganError

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

TABLE = (
    ("PSNR\ndB ↑", "psnr", "{:.2f}"),
    ("SSIM\n↑", "ssim", "{:.3f}"),
    ("CIEDE\n2000 ↓", "ciede2000", "{:.2f}"),
    ("FD ↓\nLite2", "frechet_lite2", "{:.1f}"),
    ("gain", "gain", "{:.2f}"),
    ("CIEDE\nECF ↓", "ciede2000_ecf", "{:.2f}"),
    ("FD ↓\nECF", "frechet_lite2_ecf", "{:.1f}"),
    ("colour-\nfulness", "colorfulness", "{:.1f}"),
    ("gap\n↓", "colorfulness_gap", "{:.1f}"),
    ("hue to\n{}° ↑", "hue_share", "{:.1%}"),
    ("shift\na", "shift_a", "{:+.1f}"),
    ("shift\nb", "shift_b", "{:+.1f}"),
    ("FID\n↓", "fid", "{:.1f}"),
    ("LPIPS\n↓", "lpips", "{:.3f}"),
)
"""Heading (`{}` is the hue tolerance), key in metrics.json and format of each column."""
ABOUT_ECF = (
    "ECF: at equal colourfulness, with so much gain of the predicted colours that they\n"
    "are 85% as colourful as the truth."
)
ABOUT_FRECHET = (
    "FD Lite2: Fréchet distance on features of EfficientNet-Lite2; on another scale\n"
    "than FID. It is too large on few photos: compare it only on the same photos."
)
RUN_EVALUATE = "run `dvc repro evaluate` (or `python -m colorgan evaluate`)"


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


def metrics_table(hue_tolerance: float, path: Path = paths.METRICS) -> Table:
    """Return metrics.json as a table, 100 characters wide (114 with FID and LPIPS).

    `hue_tolerance` is that of `evaluate` in degrees, for the heading of the hue share.

    Raises:
        ColorganError: the file is missing or was not written by `evaluate`.
    """
    content = _read(path)
    present = {key for summary in content.values() for key in summary["generated"]}
    columns = [column for column in TABLE if column[1] in present]
    caption = [
        f"{space}: {summary['photos']} photos, colourfulness of the truth "
        + _cell(summary["truth"]["colorfulness"], "{:.1f}")
        for space, summary in content.items()
    ]
    if "ciede2000_ecf" in present:
        caption.append(ABOUT_ECF)
    if "frechet_lite2" in present:
        caption.append(ABOUT_FRECHET)
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="\n".join(caption),
        caption_justify="left",
    )
    table.add_column("picture", no_wrap=True)
    for heading, _, _ in columns:
        table.add_column(heading.format(f"{hue_tolerance:g}"), justify="right", no_wrap=True)
    for space, summary in content.items():
        for kind in ("generated", "gray"):
            cells = (_cell(summary[kind].get(key), form) for _, key, form in columns)
            table.add_row(f"{space} {kind}", *cells, end_section=kind == "gray")
    return table


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _read(path: Path) -> dict[str, Summary]:
    try:
        content: dict[str, Summary] = json.loads(path.read_text(encoding="utf-8"))
        if all(summary.keys() >= {"photos", "generated", "gray", "truth"}
               for summary in content.values()):  # fmt: skip
            return content
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {RUN_EVALUATE} first") from None
    except (ValueError, AttributeError):
        pass
    raise ColorganError(f"{path} does not hold the metrics of a space: {RUN_EVALUATE} again")
