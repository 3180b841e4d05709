"""Validation during training: figures, a sample grid, and the weights with the best score."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from colorgan import pictures
from colorgan.data.arrays import Split
from colorgan.evaluation.metrics import ciede2000, colorfulness, psnr
from colorgan.io import file_aside, sync
from colorgan.model import Model

THIN = (slice(None), slice(None, None, 2), slice(None, None, 2))
"""Every second pixel each way: enough for CIEDE2000, in a quarter of its time."""
GAP_WEIGHT = 0.5
"""Weight of the colourfulness gap in the score: at 1 a garish pix2pix beats better models."""


def spread(split: Split, n_photos: int) -> Split:
    """Return `n_photos` photos spread over the split, all of it if there are fewer."""
    rows = np.linspace(0, len(split) - 1, min(n_photos, len(split))).round().astype(int)
    return split.take(rows.tolist())


def validate(model: Model, split: Split, batch_size: int) -> dict[str, float]:
    """Return the validation figures of a split, means over its photos.

    `l1` (of 0..255), `psnr` in dB, `ciede2000`, and `colorfulness_gap`: the mean colourfulness
    (Hasler and Suesstrunk) of the generated pictures minus that of the truth; negative is pale.
    `score`, by which `train.keep: best` chooses, is lower for better: CIEDE2000 relative to that
    of the gray pictures, plus half of the gap's size relative to the truth's colourfulness. The
    truth scores 0, gray pictures 1.5.
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
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    gap = mean["colorfulness"] - mean["truth"]
    # Not divided by 0 where the photos have no colour.
    error = mean["ciede2000"] / max(mean["gray"], 1e-6)
    score = error + GAP_WEIGHT * abs(gap) / max(mean["truth"], 1e-6)
    figures = {name: mean[name] for name in ("l1", "psnr", "ciede2000")}
    return {**figures, "colorfulness_gap": gap, "score": score}


def sample_grid(model: Model, split: Split, n_photos: int) -> Image.Image:
    """Return rows of [gray | ground truth | generated] of photos spread over the split."""
    batch = next(model.colorize_split(spread(split, n_photos), n_photos))
    return pictures.grid(
        list(zip(batch.gray, batch.truth, batch.generated, strict=True)),
        columns=("gray", "ground truth", "generated"),
    )


class BestWeights:
    """Keeps the weights with the best score so far in a safetensors file, for `keep: best`.

    The file may be ahead of the checkpoint: a training that resumes repeats some validations, with
    the same scores to the bit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def offer(self, network: nn.Module, epoch: int, score: float) -> None:
        """Keep these weights unless an earlier epoch has scored as well or better."""
        kept = self._kept()
        if kept is not None and kept[1] <= score:
            return
        state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
        with file_aside(self._path) as aside:
            save_file(state, aside, {"kept": json.dumps((epoch, score))})
            # As durable as the checkpoint, which may already be past this epoch.
            sync(aside)

    def restore(self, network: nn.Module) -> tuple[int, float] | None:
        """Load the best weights into the network; return epoch and score, None if none are kept."""
        kept = self._kept()
        if kept is not None:
            network.load_state_dict(load_file(self._path))
        return kept

    def _kept(self) -> tuple[int, float] | None:
        if not self._path.exists():
            return None
        with safe_open(self._path, "pt") as file:
            epoch, score = json.loads(file.metadata()["kept"])
        return epoch, score
