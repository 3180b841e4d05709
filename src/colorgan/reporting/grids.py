"""Grids of photos: which ones are shown, and how they are laid out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from colorgan import paths, pictures
from colorgan.color import UInt8Array
from colorgan.data.arrays import Split
from colorgan.errors import ColorganError
from colorgan.model import Model
from colorgan.reporting.inputs import EVALUATE
from colorgan.reporting.measures import CIEDE2000, PSNR, SSIM, present
from colorgan.reporting.wording import readable, title

GRAY, TRUTH, GENERATED = "gray", "ground truth", "generated"
SHOWN_IN_CAPTIONS = (CIEDE2000, PSNR, SSIM)


@dataclass(frozen=True)
class Shown:
    """A test photo and what became of it; pictures are `(H, W, 3)` uint8 sRGB.

    Attributes:
        name: its label, or its id where it has none.
        gray: the photo without colour.
        truth: the photo as it was.
        generated: the photo as the generator coloured it.
    """

    name: str
    gray: UInt8Array
    truth: UInt8Array
    generated: UInt8Array


def spread(index: pd.DataFrame, count: int) -> list[int]:
    """Choose up to `count` photos, as many of each class as of any other as far as that goes.

    The choice depends on ids and labels alone, neither on the order of the photos nor on chance.

    Args:
        index: the rows of a split; columns id and label.
        count: photos wanted.

    Returns:
        Positions in `index`, by class.
    """
    # Ids of neighbouring files often show the same thing; their hashes do not lie side by side.
    queues: dict[str, list[int]] = {}
    for row in sorted(range(len(index)), key=lambda row: _hash(index["id"].iloc[row])):
        queues.setdefault(str(index["label"].iloc[row]), []).append(row)
    chosen: list[tuple[str, int]] = []
    for turn in range(max(map(len, queues.values()), default=0)):
        labels = sorted(label for label, rows in queues.items() if len(rows) > turn)
        chosen += [(label, queues[label][turn]) for label in _evenly(labels, count - len(chosen))]
    return [row for _, row in sorted(chosen)]


def _evenly(words: Sequence[str], count: int) -> list[str]:
    """Take up to `count` words, evenly spaced."""
    count = min(count, len(words))
    return [words[i * len(words) // count] for i in range(count)]


def _hash(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def shared_rows(indexes: Mapping[str, pd.DataFrame], count: int) -> dict[str, list[int]]:
    """Choose up to `count` photos that every split holds; their positions in each split."""
    first, *others = indexes.values()
    common = first[first["id"].isin(set.intersection(*(set(i["id"]) for i in others)))]
    ids = [common["id"].iloc[row] for row in spread(common, count)]
    rows = {}
    for space, index in indexes.items():
        position = {id_: row for row, id_ in enumerate(index["id"])}
        rows[space] = [position[id_] for id_ in ids]
    return rows


def extremes(per_photo: pd.DataFrame, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the `count` best and `count` worst photos by CIEDE2000, the extreme first.

    With fewer photos than two times `count`, none is among both.
    """
    known = per_photo.dropna(subset=["ciede2000"])
    ranked = known.sort_values(["ciede2000", "id"], kind="stable")
    best = ranked.head(min(count, (len(ranked) + 1) // 2))
    worst = ranked.iloc[max(len(best), len(ranked) - count) :][::-1]
    return best, worst


def check_same_photos(space: str, per_photo: pd.DataFrame, index: pd.DataFrame) -> None:
    """Refuse measures that were made of other photos than those of the split.

    Raises:
        ColorganError: a photo of per_photo.csv is not at its position in the split.
    """
    ids = dict(enumerate(index["id"]))
    wrong = [
        id_
        for photo, id_ in zip(per_photo["photo"], per_photo["id"], strict=True)
        if ids.get(int(photo)) != id_
    ]
    if wrong or len(per_photo) != len(index):
        raise ColorganError(
            f"{paths.PER_PHOTO} measures other photos than the test split of "
            f"{paths.processed(space)} holds: {EVALUATE}"
        )


def color_rows(
    model: Model, split: Split, rows: Iterable[int], batch_size: int
) -> dict[int, Shown]:
    """Colour the photos at `rows` of a split, each once."""
    wanted = sorted(set(rows))
    taken = split.take(wanted)
    names = [
        readable(label) or id_
        for label, id_ in zip(taken.index["label"], taken.index["id"], strict=True)
    ]
    batches = list(model.colorize_split(taken, batch_size))
    triples = (
        triple
        for batch in batches
        for triple in zip(batch.gray, batch.truth, batch.generated, strict=True)
    )
    return {
        row: Shown(name, *triple)
        for row, name, triple in zip(wanted, names, triples, strict=True)
    }  # fmt: skip


def space_grid(shown: Sequence[Shown]) -> Image.Image:
    """Lay out rows of [gray | ground truth | generated], each with its name below."""
    return _triples(shown, [photo.name for photo in shown])


def both_grid(shown: Mapping[str, Sequence[Shown]]) -> Image.Image:
    """Lay out rows of [gray | ground truth | a column for each space] of the same photos."""
    side = max(photo.truth.shape[0] for photos in shown.values() for photo in photos)
    first = next(iter(shown.values()))
    rows = [[photo.gray, photo.truth] for photo in first]
    for photos in shown.values():
        for row, photo in zip(rows, photos, strict=True):
            row.append(photo.generated)
    return pictures.grid(
        [[_resized(picture, side) for picture in row] for row in rows],
        columns=(GRAY, TRUTH, *(title(space) for space in shown)),
        captions=[photo.name for photo in first],
    )


def extremes_grid(
    shown: Mapping[int, Shown], best: pd.DataFrame, worst: pd.DataFrame
) -> Image.Image:
    """Lay out the best photos above the worst, with their figures below each."""
    photos, captions = [], []
    for kind, table in (("best", best), ("worst", worst)):
        for place, measured in enumerate(table.to_dict("records"), start=1):
            photo = shown[int(measured["photo"])]
            figures = ", ".join(
                f"{measure.label} {measure.show(present(measured[measure.key]))}"
                for measure in SHOWN_IN_CAPTIONS
            )
            photos.append(photo)
            captions.append(f"{kind} {place}: {photo.name}: {figures}")
    return _triples(photos, captions)


def _triples(shown: Sequence[Shown], captions: Sequence[str]) -> Image.Image:
    rows = [[photo.gray, photo.truth, photo.generated] for photo in shown]
    return pictures.grid(rows, columns=(GRAY, TRUTH, GENERATED), captions=captions)


def _resized(picture: UInt8Array, side: int) -> UInt8Array:
    """Enlarge a picture to `side` pixels: the spaces may have been trained at different sizes."""
    if picture.shape[0] == side:
        return picture
    size = (side, side)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
