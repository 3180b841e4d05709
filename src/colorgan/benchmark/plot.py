"""The speed of each variant against the base as a bar plot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

WIDTH, BAR = 7.2, 0.3
"""Inches: the plot's width, the height that a bar takes."""
DPI = 150
COLOR, BASE_COLOR, INK = "#1f5fa8", "#9aa0a6", "#202124"


def bar_plot(rows: Sequence[dict[str, Any]], title: str) -> bytes | None:
    """Draw `ratio` of each row by `label`, as a PNG; None where there is no matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(WIDTH, BAR * len(rows) + 0.9), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    labels, ratios = [row["label"] for row in rows], [row["ratio"] for row in rows]
    colors = [BASE_COLOR if row["name"] in ("base", "again") else COLOR for row in rows]
    bars = axes.barh(labels, ratios, color=colors, height=0.7)
    # The line lies behind, so that it crosses no figure of a bar that ends beside it.
    axes.axvline(1.0, color=INK, linewidth=0.8, zorder=0)
    figures = axes.bar_label(
        bars, [f"{ratio:.2f}" for ratio in ratios], padding=3, fontsize=8, color=INK
    )
    for figure_text in figures:
        figure_text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axes.set_xlim(0, max(ratios) * 1.1)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel("speed against base", fontsize=8)
    axes.set_title(title, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return png.getvalue()
