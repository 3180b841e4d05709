"""Made-up results: random photos are in conftest.py, numbers are here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from colorgan.reporting.results import Results, Scores

LABELS = ("cat", "cat", "cat", "dog", "dog", "dog", "sail_boat")
GENERATED = {
    "psnr": 21.0,
    "ssim": 0.9,
    "ciede2000": 12.0,
    "colorfulness": 30.0,
    "colorfulness_gap": 2.0,
    "hue_share": 0.4,
    "shift_a": 0.2,
    "shift_a_low": -0.5,
    "shift_a_high": 0.9,
    "shift_b": -3.0,
    "shift_b_low": -4.0,
    "shift_b_high": -2.0,
}
GRAY = {
    "psnr": 22.2,
    "ssim": 0.9,
    "ciede2000": 14.5,
    "colorfulness": 0.0,
    "colorfulness_gap": 32.0,
    "hue_share": 0.0,
    "shift_b": -1.0,
}


def make_scores(photos: int = 200, gray: dict[str, Any] | None = None, **generated: Any) -> Scores:
    return Scores(photos, GENERATED | generated, GRAY | (gray or {}), {"colorfulness": 32.0})


def make_photos(space: str, ciede2000: list[float], ids: list[str] | None = None) -> pd.DataFrame:
    n = len(ciede2000)
    return pd.DataFrame(
        {
            "space": space,
            "photo": np.arange(n, dtype=float),
            "id": ids or [f"p{i}" for i in range(n)],
            "label": [LABELS[i % len(LABELS)] for i in range(n)],
            "psnr": 20.0,
            "ssim": 0.9,
            "ciede2000": ciede2000,
            "gray_ciede2000": 14.0,
        }
    )


def make_classes(space: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "space": space,
            "label": ["cat", "dog", "sail_boat"],
            "n": [3, 3, 1],
            "psnr": 20.0,
            "ciede2000": [10.0, 15.0, 30.0],
        }
    )


def make_hues(space: str) -> pd.DataFrame:
    centres = np.arange(36) * 10.0 + 5
    return pd.DataFrame({"space": space, "hue": centres, "truth": 0.01, "generated": 0.01})


def make_results(space: str = "rgb", scores: Scores | None = None) -> Results:
    return Results(
        scores=scores or make_scores(),
        per_photo=make_photos(space, [10.0 + i for i in range(len(LABELS))]),
        per_class=make_classes(space),
        hues=make_hues(space),
        losses=pd.DataFrame({"iteration": [1.0, 2.0], "epoch": 1.0, "loss_D": [0.7, 0.6]}),
        validation=pd.DataFrame({"epoch": [], "l1": []}),
    )
