"""Plots as PNG bytes: losses and validation measures over time, and the histogram of hues.

The same numbers give the same bytes. matplotlib's `Figure` is used without pyplot, which would keep
every figure in a global list.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from colorgan import color
from colorgan.reporting.measures import FIRST_HUE, HUES, turned

TITLES = {
    "loss_D": "Discriminator loss",
    "loss_G_GAN": "Generator: adversarial loss",
    "loss_G_L1": "Generator: L1 loss",
    "loss_G_color": "Generator: colourfulness loss",
    "loss_G_perceptual": "Generator: perceptual loss",
    "l1": "L1 on 0..255 (lower is better)",
    "psnr": "PSNR in dB (higher is better)",
    "ciede2000": "CIEDE2000 (lower is better)",
    "colorfulness_gap": "Colourfulness, generated minus truth (0 is best)",
    "gain": "Gain at equal colourfulness (1 is as strong as photos)",
    "ciede2000_ecf": "CIEDE2000 at equal colourfulness (lower is better)",
    "frechet_ecf": "Frechet distance at equal colourfulness (lower is better)",
}
"""Titles of the columns of losses.csv and validation.csv; others are shown by their name."""
WIDTH = 6.4
PANEL_HEIGHT = 1.6
DPI = 150
LINE = "#1f5fa8"
RAW_LINE = "#a9c4e4"
INK = "#202124"
FAINT = "#9aa0a6"
SMOOTHED_FROM = 30
"""Curves with at least this many points get a smoothed line."""
LOG_RATIO = 100.0
"""The scale is logarithmic if the largest value is more than this many times the smallest."""
HUE_LIGHTNESS, HUE_CHROMA = 68.0, 48.0
"""Lab lightness and chroma of the bars: about the most chroma that sRGB shows in every hue."""


def line_panels(table: pd.DataFrame, x: str) -> bytes | None:
    """Draw every numeric column over column `x` as a PNG, each in a panel with its own scale.

    Columns that are 0 throughout are left out: losses that this training did not use. None if there
    is nothing to draw.
    """
    numeric = table.select_dtypes("number").columns.difference(["iteration", "epoch"], sort=False)
    names = [name for name in numeric if table[name].fillna(0).any()]
    if not names:
        return None
    figure = _figure(0.4 + PANEL_HEIGHT * len(names))
    panels = figure.subplots(len(names), sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        _curve(axes, table[x], table[name])
        axes.set_title(TITLES.get(name, name), loc="left", fontsize=10, color=INK)
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    panels[-1].set_xlabel(x, color=INK)
    return _png(figure)


def _curve(axes: Axes, x: pd.Series[Any], y: pd.Series[Any]) -> None:
    """Draw the values as recorded; for long curves, light, below their dark sliding mean."""
    _style(axes)
    if len(y) >= SMOOTHED_FROM:
        axes.plot(x, y, color=RAW_LINE, linewidth=0.8)
        smooth = y.rolling(max(3, len(y) // 30), center=True, min_periods=1).mean()
        axes.plot(x, smooth, color=LINE, linewidth=1.8)
    else:
        axes.plot(x, y, color=LINE, linewidth=1.5, marker="o", markersize=3)
    low, high = y.quantile(0.01), y.quantile(0.99)
    if y.min() > 0 and high > LOG_RATIO * low:
        axes.set_yscale("log")
    elif y.min() >= 0 and low < high / 2:
        axes.set_ylim(bottom=0)


def hue_histogram(hues: pd.DataFrame) -> bytes:
    """Draw the rows of hues.csv as a PNG: bars for generated, a line for the truth."""
    table = hues.assign(at=hues["hue"].map(turned)).sort_values("at")
    width = 360 / len(table)
    figure = _figure(3.4)
    axes = figure.add_subplot()
    _style(axes)
    hue = np.radians(table["hue"].to_numpy(np.float32))
    a, b = HUE_CHROMA * np.cos(hue), HUE_CHROMA * np.sin(hue)
    bars = color.rgb_from_lab(np.stack((np.full_like(a, HUE_LIGHTNESS), a, b), -1))
    axes.bar(table["at"], table["generated"], width, color=bars,
             label="generated (bars in their own hue)")  # fmt: skip
    edges = np.append(table["at"] - width / 2, table["at"].iloc[-1] + width / 2)
    axes.stairs(table["truth"], edges, color=INK, linewidth=1.6, label="truth (line)")
    top = max(0.01, float(table[["truth", "generated"]].max().max()))
    axes.set(xlim=(FIRST_HUE, FIRST_HUE + 360), ylim=(0, top * 1.12))
    # Ticks at the borders of the hues, names between them.
    axes.set_xticks([start for _, start, _ in HUES], labels=[])
    axes.tick_params(axis="x", length=6)
    axes.set_xticks([(start + end) / 2 for _, start, end in HUES],
                    labels=[name for name, _, _ in HUES], minor=True)  # fmt: skip
    axes.tick_params(axis="x", which="minor", length=0, pad=6, labelsize=8.5, colors=INK)
    axes.set_ylabel("share of all pixels", color=INK)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    legend = axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=9)
    legend.get_patches()[0].set_facecolor(FAINT)  # not the hue of the first bar
    return _png(figure)


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without matplotlib's version in the file.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
