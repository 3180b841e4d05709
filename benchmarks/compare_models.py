"""Compare models on photos at equal colourfulness: CIEDE2000, Frechet distance, AUC of a critic.

    python benchmarks/compare_models.py models/pretrained models/lab --photos data/processed/lab
    python benchmarks/compare_models.py models/pretrained models/lab --photos PARQUET --groups

The photos are a split of arrays, or Parquet files with columns `webp` and `split`; of several
folders, all of one size, and several `--split`, the photos together, `--count` of each. A model
whose image size is another sees them enlarged, and its colours are made as small as the photos.

AUC: a fresh critic, a logistic regression on features of EfficientNet-Lite2, learns to tell the
pictures of half of the photos from the originals and judges the other half. 0.5: it cannot.

A CIEDE2000 of 100 and a gain of 4: the model is too pale, at that gain too.

`--groups` adds a table by column `source`, and by tone of skin: the individual typology angle of
the middle of the true photo, for the sources that are portraits.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from colorgan.color import UInt8Array, lab_from_rgb, uint8_from_unit, unit_from_uint8
from colorgan.data.arrays import open_split, read_info
from colorgan.errors import ColorganError
from colorgan.evaluation.equal_colorfulness import at_gain, ciede2000_ecf, equal_gain
from colorgan.evaluation.frechet import Float64Array, Lite2Features, Moments, frechet_distance
from colorgan.evaluation.metrics import FloatArray, ciede2000, colorfulness
from colorgan.model import Model
from colorgan.spaces import get_space

BATCH = 32
PORTRAITS = ("aaf", "genderid", "nomask", "genderface")
TONES = ("very light", "light", "intermediate", "tan", "brown", "dark")
TONE_LIMITS = (55, 41, 28, 10, -30)
"""Degrees of the typology angle between the tones (Del Bino and Bernerd 2013)."""


def photos_of(folder: Path, split: str, count: int) -> tuple[UInt8Array, list[str]]:
    """Return photos `(N, H, W, 3)` of a split, all or `count` spread over it, and their sources."""
    if (folder / "dataset.json").exists():
        arrays, space = open_split(folder, split), get_space(read_info(folder).space)
        rows = spread(len(arrays), count)
        input, target = (torch.from_numpy(x[rows]) for x in (arrays.input, arrays.target))
        photos: UInt8Array = uint8_from_unit(space.decode(*space.encode(input, target))).numpy()
        return photos, [""] * len(photos)
    table = pq.read_table(sorted(folder.glob("*.parquet")), filters=[("split", "==", split)])
    table = table.take(spread(len(table), count))
    encoded = table["webp"].to_pylist()
    sources = table["source"].to_pylist() if "source" in table.column_names else [""] * len(encoded)
    photos = np.stack([np.asarray(Image.open(io.BytesIO(x)).convert("RGB")) for x in encoded])
    return photos, sources


def spread(total: int, count: int) -> list[int]:
    chosen: list[int] = np.linspace(0, total - 1, min(count or total, total)).astype(int).tolist()
    return chosen


def predicted(model: Model, photos: UInt8Array) -> tuple[Tensor, Tensor]:
    """Return lightness and ab of all photos for `equal_gain`, without the model's own gain."""
    space, side = model.space, photos.shape[1:3]
    seen_at = (model.image_size, model.image_size)
    found = []
    for start in range(0, len(photos), BATCH):
        input = space.encode_input(torch.from_numpy(space.arrays(photos[start : start + BATCH])[0]))
        large = input
        if seen_at != side:  # as `colorgan colorize` enlarges
            large = F.interpolate(input, seen_at, mode="bicubic").clamp(-1, 1)
        _, ab = space.lab_of(large, space.with_chroma(large, model.predict(large), 1 / model.gain))
        lightness, _ = space.lab_of(input, space.gray_output(input))
        found.append((lightness, F.interpolate(ab, side, mode="bilinear")))
    lightness, ab = (torch.cat(x) for x in zip(*found, strict=True))
    return lightness, ab


def painted(lightness: Tensor, ab: Tensor, gain: float) -> UInt8Array:
    batches = zip(lightness.split(BATCH), ab.split(BATCH), strict=True)
    return np.concatenate([at_gain(*batch, gain) for batch in batches])


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


def tone(photo: UInt8Array) -> str:
    """Return the tone of skin by the typology angle of the middle quarter of a portrait."""
    height, width = photo.shape[:2]
    middle = photo[3 * height // 8 : 5 * height // 8, 3 * width // 8 : 5 * width // 8]
    lightness, _, b = lab_from_rgb(unit_from_uint8(middle)).reshape(-1, 3).mean(0)
    angle = np.degrees(np.arctan2(lightness - 50, b))
    return f"skin: {TONES[sum(angle <= limit for limit in TONE_LIMITS)]}"


def groups_of(photos: UInt8Array, sources: list[str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i, source in enumerate(sources):
        groups[source].append(i)
        if source in PORTRAITS:
            groups[tone(photos[i])].append(i)
    return groups


def main(
    models: list[Path],
    photos: Annotated[list[Path], typer.Option()],
    split: Annotated[list[str], typer.Option()] = ["test"],  # noqa: B006 (nothing changes it)
    count: int = 0,
    groups: bool = False,
) -> None:
    """Print the figures of each model as Markdown."""
    features = Lite2Features(torch.device("cpu"))
    found = [photos_of(folder, name, count) for folder in photos for name in split]
    if len({pictures.shape[1:] for pictures, _ in found}) > 1:
        raise ColorganError("the photos of all --photos should have one size")
    truth = np.concatenate([pictures for pictures, _ in found])
    sources = [source for _, of_folder in found for source in of_folder]
    real, real_moments = features(truth), Moments()
    real_moments.update(real)
    by_group: dict[str, list[FloatArray]] = {}
    print(f"{len(truth)} photos, colourfulness {colorfulness(truth).mean():.1f}\n")
    print(
        "| model | gain | CIEDE2000 | FD Lite2 | AUC | at its own gain: CIEDE2000, colourfulness |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ("gray", *map(str, models)):
        model = None if name == "gray" else Model.load(Path(name))
        lightness, ab = predicted(model or Model.load(models[0]), truth)
        if model is None:
            own = made = painted(lightness, ab, 0)
            gain, reached = 0.0, True
        else:
            gain, reached = equal_gain([(lightness, ab, truth)])
            made, own = painted(lightness, ab, gain), painted(lightness, ab, model.gain)
        of_made, moments = features(made), Moments()
        moments.update(of_made)
        aucs = [auc(real, of_made, seed) for seed in range(3)]
        errors = ciede2000(made, truth)
        by_group[name] = [ciede2000(own, truth), colorfulness(own)]
        print(
            f"| {name} | {gain:.2f} | {ciede2000_ecf(errors, reached):.2f} | "
            f"{frechet_distance(moments, real_moments):.1f} | {np.mean(aucs):.3f} | "
            f"{by_group[name][0].mean():.2f}, {by_group[name][1].mean():.1f} |",
            flush=True,
        )
    if groups:
        print(f"\nCIEDE2000 at its own gain\n\n| group | photos | {' | '.join(by_group)} |")
        print(f"| --- | ---: |{' ---: |' * len(by_group)}")
        for group, rows in sorted(groups_of(truth, sources).items()):
            cells = " | ".join(f"{errors[rows].mean():.2f}" for errors, _ in by_group.values())
            print(f"| {group} | {len(rows)} | {cells} |")


if __name__ == "__main__":
    try:
        typer.run(main)
    except ColorganError as error:
        sys.exit(str(error))
