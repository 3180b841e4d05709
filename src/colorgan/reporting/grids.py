"""Grids of test photos: which photos are shown, and how they are laid out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from colorgan import pictures
from colorgan.color import UInt8Array
from colorgan.data.arrays import Split
from colorgan.model import Model
from colorgan.reporting.measures import CIEDE2000, PSNR, SSIM, readable

COLUMNS = ("gray", "ground truth", "generated")


@dataclass(frozen=True)
class Shown:
    """A test photo in three versions, each `(H, W, 3)` uint8 sRGB.

    `name` is its label, or its id if it has no label.
    """

    name: str
    gray: UInt8Array
    truth: UInt8Array
    generated: UInt8Array


def choose_by_class(index: pd.DataFrame, count: int) -> list[int]:
    """Choose up to `count` photos, evenly over the classes; return their positions, by class.

    The choice depends only on the columns id and label of the index, not on the order of its rows.
    """
    labels = [str(label) for label in index["label"]]
    # Neighbouring ids often show the same thing: order the photos of a class by a hash instead.
    hashes = [hashlib.sha256(str(id_).encode()).hexdigest() for id_ in index["id"]]
    table = pd.DataFrame({"label": labels, "hash": hashes}).sort_values("hash")
    turns = table.groupby("label").cumcount()
    chosen: list[int] = []
    for _, turn in table.groupby(turns):
        rows = turn.sort_values("label").index
        wanted = min(count - len(chosen), len(rows))
        chosen += [int(rows[i * len(rows) // wanted]) for i in range(wanted)]
    return sorted(chosen, key=lambda row: (labels[row], hashes[row]))


def shared_rows(indexes: Mapping[str, pd.DataFrame], count: int) -> dict[str, list[int]]:
    """Choose up to `count` photos that every split holds; return their positions in each split."""
    first, *others = indexes.values()
    common = first[first["id"].isin(set.intersection(*(set(i["id"]) for i in others)))]
    ids = [common["id"].iloc[row] for row in choose_by_class(common, count)]
    return {
        space: [int(row) for row in pd.Index(index["id"]).get_indexer(ids)]
        for space, index in indexes.items()
    }


def extremes(per_photo: pd.DataFrame, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the `count` best and `count` worst photos by CIEDE2000.

    The most extreme comes first. No photo is in both, so there are fewer if photos are few.
    """
    known = per_photo.dropna(subset=["ciede2000"])
    ranked = known.sort_values(["ciede2000", "id"], kind="stable")
    best = ranked.head(min(count, (len(ranked) + 1) // 2))
    worst = ranked.iloc[max(len(best), len(ranked) - count) :][::-1]
    return best, worst


def color_rows(
    model: Model, split: Split, rows: Iterable[int], batch_size: int
) -> dict[int, Shown]:
    """Colour the photos at `rows` of a split, each once."""
    wanted = sorted(set(rows))
    taken = split.take(wanted)
    names = [readable(label) or id_ for id_, label in taken.index[["id", "label"]].to_numpy()]
    triples = (
        triple
        for batch in model.colorize_split(taken, batch_size)
        for triple in zip(batch.gray, batch.truth, batch.generated, strict=True)
    )
    return {
        row: Shown(name, *triple) for row, name, triple in zip(wanted, names, triples, strict=True)
    }


def triples(shown: Sequence[Shown], captions: Sequence[str]) -> Image.Image:
    """Lay out rows of [gray | ground truth | generated], with a caption below each."""
    rows = [[photo.gray, photo.truth, photo.generated] for photo in shown]
    return pictures.grid(rows, columns=COLUMNS, captions=captions)


def both_grid(shown: Mapping[str, Sequence[Shown]]) -> Image.Image:
    """Lay out rows of [gray | ground truth | one column per space] of the same photos."""
    first = next(iter(shown.values()))
    columns = [[photo.gray for photo in first], [photo.truth for photo in first]]
    columns += [[photo.generated for photo in photos] for photos in shown.values()]
    return pictures.grid(
        list(zip(*columns, strict=True)),
        columns=(*COLUMNS[:2], *(space.upper() for space in shown)),
        captions=[photo.name for photo in first],
    )


def extremes_grid(
    shown: Mapping[int, Shown], best: pd.DataFrame, worst: pd.DataFrame
) -> Image.Image:
    """Lay out the best photos above the worst, with their measures below each."""
    photos, captions = [], []
    for kind, table in (("best", best), ("worst", worst)):
        for place, row in enumerate(table.to_dict("records"), start=1):
            photo = shown[int(row["photo"])]
            measures = [f"{m.label} {m.show(row[m.key])}" for m in (CIEDE2000, PSNR, SSIM)]
            photos.append(photo)
            captions.append(f"{kind} {place}: {photo.name}: {', '.join(measures)}")
    return triples(photos, captions)
