"""Plots as PNG bytes: losses and validation over time, and the histogram of hues.

matplotlib's objects are used directly, never pyplot, which keeps figures in a global list. The
same numbers give the same bytes: nothing is written into the PNG but the picture.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
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
    "l1": "L1",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ciede2000": "CIEDE2000",
    "colorfulness_gap": "Colourfulness gap",
    "score": "Score",
    "lr": "Learning rate",
}
NOT_CURVES = ("iteration", "epoch")
WIDTH = 6.4
PANEL_HEIGHT = 1.75
DPI = 150
LINE = "#1f5fa8"
RAW_LINE = "#a9c4e4"
INK = "#202124"
FAINT = "#9aa0a6"
SMOOTHED_FROM = 30
"""Points from which on a smoothed line is worth drawing."""
LOG_SPAN = 100.0
"""Ratio of large to small values from which on a scale is logarithmic."""
HUE_LIGHTNESS, HUE_CHROMA = 68.0, 48.0
"""How the bars are tinted: the most chroma at which sRGB shows nearly every hue."""


def line_panels(table: pd.DataFrame, x: str) -> bytes | None:
    """Draw every numeric column over column `x`, each in a panel of its own scale.

    The light line is what was recorded, the dark one its mean over a sliding window. A column that
    is 0 throughout is left out: a loss that this training did without.

    Returns:
        A PNG, or None where there is nothing to draw.
    """
    numeric = table.select_dtypes("number").columns
    there = table[numeric].fillna(0).any()
    names = [n for n in numeric if n not in NOT_CURVES and there[n]]
    if not names:
        return None
    n_columns = 1 if len(names) <= 4 else 2
    n_rows = math.ceil(len(names) / n_columns)
    figure = _figure(WIDTH * (1 if n_columns == 1 else 1.5), 0.4 + PANEL_HEIGHT * n_rows)
    for i, name in enumerate(names):
        axes = figure.add_subplot(n_rows, n_columns, i + 1)
        _curve(axes, table[x], table[name])
        axes.set_title(TITLES.get(name, name), loc="left", fontsize=10, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        if i + n_columns >= len(names):
            axes.set_xlabel(x, color=INK)
        else:
            axes.tick_params(labelbottom=False)
    return _png(figure)


def _curve(axes: Axes, x: pd.Series[Any], y: pd.Series[Any]) -> None:
    _style(axes)
    window = len(y) // 30
    if len(y) >= SMOOTHED_FROM:
        axes.plot(x, y, color=RAW_LINE, linewidth=0.8)
        smooth = y.rolling(max(3, window), center=True, min_periods=1).mean()
        axes.plot(x, smooth, color=LINE, linewidth=1.8)
    else:
        axes.plot(x, y, color=LINE, linewidth=1.5, marker="o", markersize=3)
    values = y.dropna()
    low, high = values.quantile(0.01), values.quantile(0.99)
    if values.min() > 0 and high > LOG_SPAN * low:
        axes.set_yscale("log")
    elif values.min() >= 0 and low < high / 2:
        # A curve that comes near zero is read against zero.
        axes.set_ylim(bottom=0)


def hue_histogram(hues: pd.DataFrame) -> bytes:
    """Draw how many pixels have which hue: bars for the generated, a black line for the truth.

    Args:
        hues: columns hue (bin centres in degrees), truth and generated (shares of all pixels).

    Returns:
        A PNG.
    """
    table = hues.assign(at=hues["hue"].map(turned)).sort_values("at")
    width = 360 / len(table)
    figure = _figure(WIDTH, 3.4)
    axes = figure.add_subplot()
    _style(axes)
    axes.bar(table["at"], table["generated"], width, color=hue_colors(table["hue"]),
             label="generated (bars in their own hue)")  # fmt: skip
    edges = np.append(table["at"] - width / 2, table["at"].iloc[-1] + width / 2)
    axes.stairs(table["truth"], edges, color=INK, linewidth=1.6, label="truth (line)")
    top = max(0.01, float(table[["truth", "generated"]].max().max()))
    axes.set_ylim(0, top * 1.12)
    axes.set_xlim(FIRST_HUE, FIRST_HUE + 360)
    _name_hues(axes)
    axes.set_ylabel("share of all pixels", color=INK)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    _legend(axes)
    return _png(figure)


def hue_colors(hues: pd.Series[Any]) -> npt.NDArray[np.float32]:
    """Return an sRGB colour in 0..1 for each hue in degrees, all of one lightness and chroma."""
    angle = np.radians(hues.to_numpy(np.float32))
    a, b = HUE_CHROMA * np.cos(angle), HUE_CHROMA * np.sin(angle)
    colors: npt.NDArray[np.float32] = color.rgb_from_lab(
        np.stack((np.full_like(a, HUE_LIGHTNESS), a, b), -1)
    )
    return colors


def _name_hues(axes: Axes) -> None:
    """Write the name of each hue under its range, with a tick at the borders."""
    axes.set_xticks([start for _, start, _ in HUES], labels=[])
    axes.tick_params(axis="x", length=6)
    axes.set_xticks([(start + end) / 2 for _, start, end in HUES],
                    labels=[name for name, _, _ in HUES], minor=True)  # fmt: skip
    axes.tick_params(axis="x", which="minor", length=0, pad=6, labelsize=8.5, colors=INK)


def _legend(axes: Axes) -> None:
    legend = axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False,
                         fontsize=9, borderaxespad=0.2)  # fmt: skip
    # The sample of the bars would show the tint of one of them.
    for handle in legend.get_patches()[:1]:
        handle.set_facecolor(FAINT)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color="#e8eaed", linewidth=0.8)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # matplotlib would sign the file with its version.
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
