"""Plots: what is drawn, and that the same numbers give the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from PIL import Image

from colorgan.reporting import curves
from colorgan.reporting.measures import HUES, hue_name


def _opened(png: bytes | None) -> Image.Image:
    assert png is not None
    return Image.open(io.BytesIO(png))


def _table(rows: int, *names: str) -> pd.DataFrame:
    steps = np.arange(rows, dtype=float)
    return pd.DataFrame({"iteration": steps, "epoch": 1.0} | dict.fromkeys(names, steps + 1))


def test_every_column_of_numbers_gets_a_panel_and_no_number_none():
    one, three = (
        _opened(curves.line_panels(_table(50, *names), "iteration"))
        for names in (["loss_D"], ["loss_D", "loss_G_GAN", "loss_new"])
    )
    assert three.height - one.height == round(2 * curves.PANEL_HEIGHT * curves.DPI)
    assert "Software" not in one.info
    assert curves.line_panels(_table(5).assign(l1=np.nan), "epoch") is None
    # A loss that was off.
    without = _table(50, "loss_D").assign(loss_G_GAN=0.0)
    assert _opened(curves.line_panels(without, "iteration")).height == one.height


def test_names_of_hues_go_round_without_gap():
    assert [start for _, start, _ in HUES[1:]] == [end for _, _, end in HUES[:-1]]
    assert HUES[-1][2] - HUES[0][1] == 360
    # The hue angles of sRGB's primaries in Lab.
    names = " ".join(hue_name(h) for h in (40.0, 102.8, 136.0, 196.4, 306.3, 355.0, -5.0))
    assert names == "red yellow green cyan blue pink pink"
