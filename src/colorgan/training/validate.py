"""Validation in the course of training: a few figures and a grid of the validation photos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
from PIL import Image

from colorgan import pictures
from colorgan.data.arrays import Split
from colorgan.evaluation.metrics import ciede2000, colorfulness, psnr
from colorgan.model import Model

THIN = (slice(None), slice(None, None, 2), slice(None, None, 2))
"""Every second pixel each way: enough for CIEDE2000, in a quarter of its time."""
GAP_COUNTS = 0.5
"""Weight of the colourfulness gap beside CIEDE2000: at 1 a garish pix2pix beats better models."""


def validate(
    model: Model, split: Split, batch_size: int, between: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return measures of a split, among them the score by which `train.keep: best` chooses.

    `l1` (of 0..255), `psnr` in dB and `ciede2000` are means over the photos. `colorfulness_gap` is
    the mean colourfulness (Hasler and Suesstrunk) generated minus true: negative is pale.
    `score`, lower is better, is CIEDE2000 in relation to that of the gray pictures, plus half the
    size of the gap in relation to the truth's colourfulness. Gray scores 1.5, the truth 0; a pale
    model pays for what it lacks in the second part, a garish one in both.

    `between` is called after each batch, and may raise to stop.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for batch in model.colorize_split(split, batch_size):
        difference = batch.generated.astype(np.float32) - batch.truth
        found["l1"] += list(np.abs(difference).mean(axis=(1, 2, 3)))
        found["psnr"] += list(psnr(batch.generated, batch.truth))
        truth = batch.truth[THIN]
        found["ciede2000"] += list(ciede2000(batch.generated[THIN], truth))
        found["gray"] += list(ciede2000(batch.gray[THIN], truth))
        found["colorfulness"] += list(colorfulness(batch.generated))
        found["truth"] += list(colorfulness(batch.truth))
        between()
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    gap = mean["colorfulness"] - mean["truth"]
    # Photos without any colour have nothing to be measured against.
    error = mean["ciede2000"] / max(mean["gray"], 1e-6)
    score = error + GAP_COUNTS * abs(gap) / max(mean["truth"], 1e-6)
    figures = {name: mean[name] for name in ("l1", "psnr", "ciede2000")}
    return {**figures, "colorfulness_gap": gap, "score": score}


def sample_grid(model: Model, split: Split, n_photos: int) -> Image.Image:
    """Return rows of [gray | ground truth | generated] of photos spread over the split."""
    rows = np.linspace(0, len(split) - 1, min(n_photos, len(split))).round().astype(int)
    batch = next(model.colorize_split(split.take(rows.tolist()), n_photos))
    return pictures.grid(
        list(zip(batch.gray, batch.truth, batch.generated, strict=True)),
        columns=("gray", "ground truth", "generated"),
    )
