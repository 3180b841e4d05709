"""Validation in the course of training: a few figures and a grid of the validation photos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from colorgan import pictures
from colorgan.colorizer import Colorizer
from colorgan.data.arrays import Split
from colorgan.evaluation.metrics import colorfulness, psnr


def validate(
    colorizer: Colorizer, split: Split, batch_size: int, between: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return the mean L1 (of 0..255), PSNR in dB and colourfulness gap on a split.

    The gap is mean colourfulness (Hasler and Suesstrunk) generated minus true: negative is pale.
    `between` is called after each batch, and may raise to stop.
    """
    l1: list[float] = []
    psnrs: list[float] = []
    generated: list[float] = []
    true: list[float] = []
    for batch in colorizer.colorize_split(split, batch_size):
        difference = batch.generated.astype(np.float32) - batch.truth
        l1 += list(np.abs(difference).mean(axis=(1, 2, 3)))
        psnrs += list(psnr(batch.generated, batch.truth))
        generated += list(colorfulness(batch.generated))
        true += list(colorfulness(batch.truth))
        between()
    return {
        "l1": float(np.mean(l1)),
        "psnr": float(np.mean(psnrs)),
        "colorfulness_gap": float(np.mean(generated) - np.mean(true)),
    }


def sample_grid(colorizer: Colorizer, split: Split, n_photos: int) -> Image.Image:
    """Return rows of [gray | ground truth | generated] of photos spread over the split."""
    rows = np.linspace(0, len(split) - 1, min(n_photos, len(split))).round().astype(int)
    batch = next(colorizer.colorize_split(split.take(rows.tolist()), n_photos))
    return pictures.grid(
        list(zip(batch.gray, batch.truth, batch.generated, strict=True)),
        columns=("gray", "ground truth", "generated"),
    )
