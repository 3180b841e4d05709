"""How `frechet_lite2` reacts to known colour errors.

    python benchmarks/frechet.py models/pretrained data/processed/lab

Each row colours the test photos with a mix of the true colours (ab) and those of a LAB model, and
compares them with the truth. *Paired* is the mean squared distance between the features of a
picture and those of its own truth.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from colorgan.color import UInt8Array
from colorgan.data.arrays import open_split
from colorgan.errors import ColorganError
from colorgan.evaluation.frechet import Lite2Features, Moments, frechet_distance
from colorgan.evaluation.metrics import ciede2000, colorfulness
from colorgan.model import Model, pictures
from colorgan.training.validate import THIN


def coarse(ab: Tensor, cell: int) -> Tensor:
    """Return colours `(N, 2, H, W)` averaged over cells of `cell` px."""
    return F.interpolate(F.avg_pool2d(ab, cell), scale_factor=cell, mode="bilinear")


CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gray": lambda true, _: torch.zeros_like(true),
    "a quarter of the true colours": lambda true, _: true / 4,
    "half of the true colours": lambda true, _: true / 2,
    "true colours in cells of 4 px": lambda true, _: coarse(true, 4),
    "true colours in cells of 16 px": lambda true, _: coarse(true, 16),
    "the model": lambda _, made: made,
    "the model, 1.25 times as strong": lambda _, made: 1.25 * made,
    "the model, 1.5 times as strong": lambda _, made: 1.5 * made,
    "the model, four fifths as strong": lambda _, made: 0.8 * made,
    "true in cells of 32 px, finer the model's": lambda true, made: (
        coarse(true, 32) + made - coarse(made, 32)
    ),
    "the model's in cells of 32 px, finer true": lambda true, made: (
        coarse(made, 32) + true - coarse(true, 32)
    ),
    "true in cells of 16 px, finer the model's": lambda true, made: (
        coarse(true, 16) + made - coarse(made, 16)
    ),
    "half way from the model to the truth": lambda true, made: (true + made) / 2,
}


def main(folder: Path, arrays: Path, photos: int = 0) -> None:
    """Print a row per case, as Markdown, on the first `photos` test photos (0: all)."""
    model = Model.load(folder)
    if model.space.name != "lab":
        raise ColorganError(f"{folder} is a model of {model.space.name}; it should be one of lab")
    features = Lite2Features(model.device)
    moments: dict[str, Moments] = defaultdict(Moments)
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for input, true in batches(model, arrays, photos):
        truth = shown(model, input, true)
        true_features = features(truth)
        moments["truth"].update(true_features)
        made = model.predict(input)
        for name, of in CASES.items():
            coloured = shown(model, input, of(true, made))
            seen = features(coloured)
            moments[name].update(seen)
            paired = np.square(seen - true_features).sum(axis=1)
            errors = ciede2000(coloured[THIN], truth[THIN])
            found[name] += list(zip(paired, errors, colorfulness(coloured), strict=True))
    print("| colours | FD Lite2 | paired | CIEDE2000 | colourfulness |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in CASES:
        distance = frechet_distance(moments[name], moments["truth"])
        paired, error, colours = np.mean(found[name], axis=0)
        print(f"| {name} | {distance:.1f} | {paired:.1f} | {error:.2f} | {colours:.1f} |")


def batches(model: Model, arrays: Path, photos: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield encoded L and true ab of the test photos."""
    split = open_split(arrays, "test")
    end = min(photos, len(split)) if photos else len(split)
    for start in range(0, end, 32):
        rows = slice(start, min(start + 32, end))
        yield model.space.encode(
            *(torch.from_numpy(x[rows].copy()) for x in (split.input, split.target))
        )


def shown(model: Model, input: Tensor, ab: Tensor) -> UInt8Array:
    """Return pictures `(N, H, W, 3)` uint8 sRGB of L and ab."""
    return pictures(model.space, input, ab).numpy()


if __name__ == "__main__":
    try:
        typer.run(main)
    except ColorganError as error:
        sys.exit(str(error))
