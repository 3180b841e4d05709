"""The stage preprocess: photos of data/raw/<space> into the uint8 arrays that a space trains on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.format import write_array_header_1_0
from PIL import Image, ImageOps

from colorgan import files, paths
from colorgan.color import UInt8Array
from colorgan.data.arrays import INDEX_COLUMNS, SPLITS, DatasetInfo
from colorgan.data.manifest import read_manifest
from colorgan.data.sources import RawPhoto, UnreadablePhoto, get_source
from colorgan.data.split import assign_splits
from colorgan.errors import ColorganError
from colorgan.params import DataParams, Params, SpaceName
from colorgan.spaces import Space, get_space

COPIED_AT_ONCE = 256


def preprocess(params: Params, space_name: SpaceName) -> DatasetInfo:
    """Make the arrays of a space; see `colorgan.data.arrays` for what is written.

    Raises:
        ColorganError: there are no raw photos, or none of them could be used.
    """
    data, space = params.space(space_name).data, get_space(space_name)
    raw = paths.raw(space_name)
    source = read_manifest(raw)["source"]
    seen = list(get_source(source).photos(raw))
    photos, rejected = _choose(seen, data.limit)
    side = (data.image_size, data.image_size)
    with files.folder_aside(paths.processed(space_name)) as folder:
        converted = _convert(photos, data, space, folder)
        rejected += converted.rejected
        index = _index(converted.kept, converted.sizes, data, source)
        _check_counts(seen, index, rejected, data, space_name)
        for name in SPLITS:
            rows = index.loc[index["split"] == name, "row"].to_numpy()
            if len(rows):
                (folder / name).mkdir()
                _copy_rows(converted.input, side, rows, folder / name / "input.npy")
                shape = (*side, space.out_channels)
                _copy_rows(converted.target, shape, rows, folder / name / "target.npy")
        converted.remove()
        index.drop(columns="row").to_csv(folder / "index.csv", index=False)
        pd.DataFrame(rejected, columns=["name", "id", "reason"]).to_csv(
            folder / "rejected.csv", index=False
        )
        counts = Counter(index["split"])
        info = DatasetInfo(
            space=space_name,
            image_size=data.image_size,
            out_channels=space.out_channels,
            counts={name: counts[name] for name in SPLITS},
            rejected=sum(reason != LIMITED for _, _, reason in rejected),
            digest=_digest(folder),
        )
        info.write(folder)
    return info


Rejection = tuple[str, str, str]
LIMITED = "not needed: over the limit"


def _choose(seen: Sequence[RawPhoto], limit: int) -> tuple[list[RawPhoto], list[Rejection]]:
    """Leave out photos with the same content as an earlier one, and those over the limit."""
    first: dict[str, RawPhoto] = {}
    rejected: list[Rejection] = []
    for photo in seen:
        if photo.id in first:
            reason = f"duplicate of {first[photo.id].name}"
            rejected.append((photo.name, photo.id, reason))
        else:
            first[photo.id] = photo
    photos = list(first.values())
    if limit and len(photos) > limit:
        # The ids are content hashes: the smallest ones are a random choice, always the same.
        taken = {photo.id for photo in sorted(photos, key=lambda photo: photo.id)[:limit]}
        rejected += [(p.name, p.id, LIMITED) for p in photos if p.id not in taken]
        photos = [photo for photo in photos if photo.id in taken]
    return photos, rejected


@dataclass
class _Converted:
    """All photos as bare arrays in the order they came, on disk: memory stays flat."""

    input: Path
    target: Path
    kept: list[RawPhoto] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def remove(self) -> None:
        """Remove the files; the splits have been copied out of them."""
        self.input.unlink()
        self.target.unlink()


def _convert(
    photos: Sequence[RawPhoto], data: DataParams, space: Space, folder: Path
) -> _Converted:
    """Decode, crop, resize and convert each photo once.

    Written through files, never through a memory map: where the disk is full, a map that is
    written to ends the process without a word, and leaves what it wrote.
    """
    converted = _Converted(folder / "input.all", folder / "target.all")
    with converted.input.open("wb") as inputs, converted.target.open("wb") as targets:
        for photo in photos:
            try:
                image = photo.open()
                _require_size(image, data.min_side)
            except UnreadablePhoto as reason:
                converted.rejected.append((photo.name, photo.id, str(reason)))
                continue
            input, target = space.arrays(_square(image, data.image_size))
            inputs.write(input.tobytes())
            targets.write(target.tobytes())
            converted.kept.append(photo)
            converted.sizes.append(image.size)
    return converted


def _require_size(image: Image.Image, min_side: int) -> None:
    if min(image.size) < min_side:
        width, height = image.size
        raise UnreadablePhoto(f"too small: {width}x{height}, the shorter side under {min_side} px")


def _square(image: Image.Image, side: int) -> UInt8Array:
    """Crop the middle square and resize it, in one step."""
    return np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC))


def _index(
    kept: Sequence[RawPhoto], sizes: Sequence[tuple[int, int]], data: DataParams, source: str
) -> pd.DataFrame:
    """Return index.csv, split by split, with the row each photo has in the converted arrays."""
    splits = assign_splits(
        [(photo.label, photo.id, photo.split) for photo in kept],
        data.val_fraction,
        data.test_fraction,
    )
    rows = [
        (photo.id, split, photo.label, source, width, height)
        for photo, split, (width, height) in zip(kept, splits, sizes, strict=True)
    ]
    index = pd.DataFrame(rows, columns=list(INDEX_COLUMNS))
    index["row"] = range(len(index))
    index["split"] = pd.Categorical(index["split"], SPLITS, ordered=True)
    return index.sort_values(["split", "label", "id"], ignore_index=True)


def _check_counts(
    seen: Sequence[RawPhoto],
    index: pd.DataFrame,
    rejected: Sequence[Rejection],
    data: DataParams,
    space: SpaceName,
) -> None:
    """Every photo is either kept or listed with its reason, and some are there to train on."""
    if len(index) + len(rejected) != len(seen):
        raise ColorganError(
            f"{paths.raw(space)} has {len(seen)} photos, of which {len(index)} were kept and "
            f"{len(rejected)} rejected: some were lost; this is a fault of colorgan, please tell us"
        )
    if not (index["split"] == "train").any():
        reasons = Counter(reason.split(":")[0] for _, _, reason in rejected)
        listed = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common()) or "none at all"
        raise ColorganError(
            f"{paths.raw(space)} leaves no photo to train on: of {len(seen)} photos "
            f"{len(rejected)} were rejected ({listed}); {space}.min_side is {data.min_side}"
        )


def _copy_rows(file: Path, shape: tuple[int, ...], rows: npt.NDArray[np.intp], npy: Path) -> None:
    """Copy rows, each an array of `shape`, out of a bare file into a .npy, a piece at a time."""
    array = np.memmap(file, np.uint8, "r").reshape(-1, *shape)
    with npy.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
        write_array_header_1_0(out, header)
        for start in range(0, len(rows), COPIED_AT_ONCE):
            out.write(array[rows[start : start + COPIED_AT_ONCE]].tobytes())


def _digest(folder: Path) -> str:
    """Return one SHA-256 over the arrays and the index."""
    together = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.npy"), folder / "index.csv"]):
        name = path.relative_to(folder).as_posix()
        together.update(f"{name} {files.sha256(path)}\n".encode())
    return together.hexdigest()
