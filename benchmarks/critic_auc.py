"""How well a fresh critic tells the pictures of a model from photos, at equal colourfulness.

    python benchmarks/critic_auc.py models/pretrained models/lab --photos data/processed/lab

The critic is a logistic regression on the features of EfficientNet-Lite2, which no model here was
trained on as a critic. Photos are split in halves: it learns on the pictures and truths of one half
and judges those of the other. AUC 0.5: it cannot tell them apart; 1: always. The photos are a split
of arrays, of any space, or Parquet files with columns `webp` and `split`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from colorgan.color import UInt8Array, uint8_from_unit
from colorgan.data.arrays import open_split, read_info
from colorgan.errors import ColorganError
from colorgan.evaluation.equal_colorfulness import GainSearch, at_gain
from colorgan.evaluation.frechet import Float64Array, Lite2Features
from colorgan.model import Model
from colorgan.spaces import get_space

BATCH = 32


def photos_of(folder: Path, split: str, count: int) -> UInt8Array:
    """Return photos `(N, H, W, 3)` of a split, spread over it if `count` limits them."""
    if (folder / "dataset.json").exists():
        arrays, space = open_split(folder, split), get_space(read_info(folder).space)
        rows = spread(len(arrays), count)
        input, target = (torch.from_numpy(x[rows]) for x in (arrays.input, arrays.target))
        photos: UInt8Array = uint8_from_unit(space.decode(*space.encode(input, target))).numpy()
        return photos
    files = sorted(folder.glob("*.parquet"))
    encoded = pq.read_table(files, columns=["webp"], filters=[("split", "==", split)])["webp"]
    encoded = encoded.take(spread(len(encoded), count)).to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded])


def spread(total: int, count: int) -> list[int]:
    chosen: list[int] = np.linspace(0, total - 1, min(count or total, total)).astype(int).tolist()
    return chosen


def batches(model: Model, photos: UInt8Array) -> Iterator[tuple[Tensor, Tensor, UInt8Array]]:
    """Yield lightness and ab as a model predicts them, and the photos."""
    for start in range(0, len(photos), BATCH):
        truth = photos[start : start + BATCH]
        input = model.space.encode_input(torch.from_numpy(model.space.arrays(truth)[0]))
        yield *model.space.lab_of(input, model.predict(input)), truth


def auc(real: Float64Array, generated: Float64Array, seed: int) -> float:
    """Return the AUC on the half of the photos that the critic did not learn on."""
    order = np.random.default_rng(seed).permutation(len(real))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    (x, y), (judged, truth) = (
        (np.concatenate((real[half], generated[half])), np.repeat((1, 0), len(half)))
        for half in halves
    )
    critic = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)).fit(x, y)
    return float(roc_auc_score(truth, critic.decision_function(judged)))


def main(
    models: list[Path],
    photos: Annotated[Path, typer.Option()],
    split: str = "test",
    count: int = 0,
) -> None:
    """Print the mean AUC of each model over three seeds, as Markdown."""
    features, truth = Lite2Features(torch.device("cpu")), photos_of(photos, split, count)
    real = features(truth)
    print(f"{len(truth)} photos\n\n| model | gain | AUC | by seed |\n| --- | ---: | ---: | --- |")
    for folder in models:
        model, search = Model.load(folder), GainSearch()
        for batch in batches(model, truth):
            search.update(*batch)
        gain, _ = search.compute()
        made = [
            features(at_gain(lightness, ab, gain)) for lightness, ab, _ in batches(model, truth)
        ]
        found = [auc(real, np.concatenate(made), seed) for seed in range(3)]
        told = ", ".join(f"{one:.3f}" for one in found)
        print(f"| {folder} | {gain:.2f} | {np.mean(found):.3f} | {told} |", flush=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except ColorganError as error:
        sys.exit(str(error))
