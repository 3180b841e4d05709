"""Validation during training: metrics, a sample grid, and the weights to keep."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from colorgan import pictures
from colorgan.data.arrays import Split
from colorgan.evaluation.equal_colorfulness import at_gain, ciede2000_ecf, equal_gain
from colorgan.evaluation.frechet import Lite2Features, Moments, frechet_distance
from colorgan.evaluation.metrics import ciede2000, colorfulness, psnr
from colorgan.io import file_aside, sync
from colorgan.model import Model

THIN = (slice(None), slice(None, None, 2), slice(None, None, 2))
"""Every second pixel each way: enough for CIEDE2000, in a quarter of its time."""
GAINS_TRIED = 17
ABOUT_AS_GOOD = 0.1
"""Among weights whose `ciede2000_ecf` is within this of the best, `frechet_ecf` decides."""
Score = tuple[float, float]


def spread(split: Split, n_photos: int) -> Split:
    """Return `n_photos` photos spread over the split, all of it if there are fewer."""
    rows = np.linspace(0, len(split) - 1, min(n_photos, len(split))).round().astype(int)
    return split.take(rows.tolist())


class Validator:
    """Computes metrics on validation photos; `frechet_ecf`, which takes longest, only if asked."""

    def __init__(self, split: Split, batch_size: int, *, frechet: bool) -> None:
        self.split, self._batch_size = split, batch_size
        self._features = Lite2Features(torch.device("cpu")) if frechet else None
        self._truth: Moments | None = None

    def __call__(self, model: Model) -> dict[str, float]:
        """Return the figures of a model whose gain is 1, means over the photos.

        `l1` (of 0..255), `psnr` in dB, `ciede2000`, and `colorfulness_gap`: the mean colourfulness
        (Hasler and Suesstrunk) of the generated pictures minus that of the truth; negative is pale.
        `gain` and `ciede2000_ecf`: see `evaluation.equal_colorfulness`. `frechet_ecf`: the Frechet
        distance on EfficientNet-Lite2 features at that gain.
        """
        gain, reached = self._equal_gain(model)
        found: dict[str, list[float]] = defaultdict(list)
        errors: list[float] = []
        moments = {kind: Moments() for kind in ("generated", "truth")}
        for batch in model.colorize_split(self.split, self._batch_size):
            difference = batch.generated.astype(np.float32) - batch.truth
            found["l1"] += list(np.abs(difference).mean(axis=(1, 2, 3)))
            found["psnr"] += list(psnr(batch.generated, batch.truth))
            found["ciede2000"] += list(ciede2000(batch.generated[THIN], batch.truth[THIN]))
            gap = colorfulness(batch.generated) - colorfulness(batch.truth)
            found["colorfulness_gap"] += list(gap)
            generated = at_gain(batch.lightness, batch.ab, gain)
            errors += list(ciede2000(generated[THIN], batch.truth[THIN]))
            if self._features:
                moments["generated"].update(self._features(generated))
                if self._truth is None:
                    moments["truth"].update(self._features(batch.truth))
        figures = {name: float(np.mean(values)) for name, values in found.items()}
        figures |= {"gain": gain, "ciede2000_ecf": ciede2000_ecf(errors, reached)}
        if self._features:
            self._truth = self._truth or moments["truth"]
            figures["frechet_ecf"] = frechet_distance(moments["generated"], self._truth)
        return figures

    def _equal_gain(self, model: Model) -> tuple[float, bool]:
        batches = model.colorize_split(self.split, self._batch_size)
        return equal_gain((batch.lightness, batch.ab, batch.truth) for batch in batches)

    def vivid_gain(self, model: Model) -> float:
        """Return the gain at equal colourfulness, or the largest at which CIEDE2000 beats gray."""
        gains = np.linspace(0, self._equal_gain(model)[0], GAINS_TRIED)
        errors = np.zeros(GAINS_TRIED)
        for batch in model.colorize_split(self.split, self._batch_size):
            lightness, ab = batch.lightness[..., ::2, ::2], batch.ab[..., ::2, ::2]
            for i, gain in enumerate(gains):
                errors[i] += ciede2000(at_gain(lightness, ab, gain), batch.truth[THIN]).sum()
        better = np.flatnonzero(errors < errors[0])
        return float(gains[better[-1]]) if len(better) else 0.0


def sample_grid(model: Model, split: Split, n_photos: int) -> Image.Image:
    """Return rows of [gray | ground truth | generated] of photos spread over the split."""
    batch = next(model.colorize_split(spread(split, n_photos), n_photos))
    return pictures.grid(
        list(zip(batch.gray, batch.truth, batch.generated, strict=True)),
        columns=("gray", "ground truth", "generated"),
    )


def score_of(figures: Mapping[str, float]) -> Score:
    """Return what decides which weights are kept: `ciede2000_ecf` and `frechet_ecf`."""
    # A single photo has no Frechet distance.
    return figures["ciede2000_ecf"], float(np.nan_to_num(figures["frechet_ecf"]))


def best_of(scores: Mapping[str, Score]) -> str:
    """Return the name of the weights to keep, the lowest Frechet distance of the best."""
    limit = min(ecf for ecf, _ in scores.values()) + ABOUT_AS_GOOD
    return min((frechet, name) for name, (ecf, frechet) in scores.items() if ecf <= limit)[1]


class BestWeights:
    """Keeps the best weights so far, for `keep: best`, each in a safetensors file of a folder.

    Files that `best_of` cannot choose any more are removed.

    The folder may be ahead of the checkpoint: a training that resumes repeats some validations,
    with the same figures to the bit.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def offer(self, state: Mapping[str, Tensor], name: str, figures: Mapping[str, float]) -> None:
        """Keep these weights under a name, and remove those that cannot win any more."""
        self._folder.mkdir(exist_ok=True)
        with file_aside(self._file(name)) as aside:
            weights = {key: value.cpu().contiguous() for key, value in state.items()}
            aside.write_bytes(save(weights, {"scores": json.dumps(score_of(figures))}))
            # As durable as the checkpoint, which may already be past this epoch.
            sync(aside)
        scores = self.scores()
        for loser, (ecf, frechet) in scores.items():
            if any(
                ecf > best + ABOUT_AS_GOOD or (best <= ecf and (other, winner) < (frechet, loser))
                for winner, (best, other) in scores.items()
            ):
                self._file(loser).unlink()

    def weights(self, name: str) -> dict[str, Tensor]:
        """Return weights by their name."""
        return load_file(self._file(name))

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

    def scores(self) -> dict[str, Score]:
        """Return the scores of the weights in the folder by their names."""
        scores = {}
        for file in sorted(self._folder.glob("*.safetensors")):
            with safe_open(file, "pt") as opened:
                ecf, frechet = json.loads(opened.metadata()["scores"])
            scores[file.stem] = (ecf, frechet)
        return scores
