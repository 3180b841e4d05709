"""The ablation table, made from reports/benchmarks/colour.csv, which outlives the MLflow store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

FIGURES = Path(__file__).parents[1] / "reports" / "benchmarks" / "colour.csv"
"""A row a line of the table, by its name: figures, core minutes, and the machine's processor."""
SHOWN = {
    "ciede2000": ("CIEDE2000", 2),
    "frechet_lite2": ("FD Lite2", 1),
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "colorfulness": ("colourfulness", 1),
    "shift_a": ("shift a", 1),
    "shift_b": ("shift b", 1),
    "hue_share": ("hue right", 3),
}
"""Columns of the table, by the names of metrics.json, with their digits after the point."""


def figures_of(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return what the table shows of what MLflow holds of a model, with its digits."""
    return {name: f"{metrics[f'test/{name}']:.{digits}f}" for name, (_, digits) in SHOWN.items()}


def kept() -> dict[str, dict[str, str]]:
    """Return the figures of earlier rows, by the names of the rows."""
    if not FIGURES.exists():
        return {}
    table = pd.read_csv(FIGURES, index_col="row", dtype=str, keep_default_na=False)
    return {str(name): dict(row) for name, row in table.iterrows()}


def keep(rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write the figures of all rows."""
    pd.DataFrame.from_dict(dict(rows), orient="index").to_csv(FIGURES, index_label="row")


def markdown(titles: Iterable[tuple[str, str]], rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return the table of those rows that have figures, in the order of the titles."""
    heads = [title for title, _ in SHOWN.values()]
    lines = [
        f"| row | what it is | {' | '.join(heads)} | core minutes | processor |",
        "|---|---|" + "---:|" * (len(SHOWN) + 1) + "---|",
    ]
    for name, title in titles:
        if name in rows:
            shown = [rows[name][column] for column in (*SHOWN, "core_minutes", "processor")]
            lines.append(f"| `{name}` | {title} | {' | '.join(shown)} |")
    return "\n".join(lines)
