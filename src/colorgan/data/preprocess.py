"""The stage preprocess: photos of data/raw/<space> into the uint8 arrays that a space trains on.

1. convert: every photo is decoded, checked and cropped, and becomes a row of a scratch file.
2. split: the photos that were not rejected are divided into train, val and test.
3. copy: the rows of each split go into its arrays, in the order of index.csv.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib.format import write_array_header_1_0

from colorgan import io, paths
from colorgan.config import SPLITS, DataParams, Params, SpaceName
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo
from colorgan.data.conversion import Converter, PhotoRecord, convert_all
from colorgan.data.sources import MANIFEST, get_source
from colorgan.errors import ColorganError
from colorgan.spaces import get_space

WORTH_PROCESSES = 1000
"""From this many photos on, starting processes takes less time than it saves."""


def preprocess(params: Params, space_name: SpaceName) -> DatasetInfo:
    """Make the arrays of a space; see `colorgan.data.arrays` for what is written.

    Raises:
        ColorganError: there are no raw photos, too many of them are rejected, or none is left to
            train on.
    """
    data, raw = params.space(space_name).data, paths.raw(space_name)
    source = _read_source(raw)
    photos = get_source(source).open(data, raw)
    rows = _chosen(len(photos), data.limit)
    n_workers = _workers(params.runtime.preprocess_workers, len(rows))
    with io.folder_aside(paths.processed(space_name)) as folder:
        converter = Converter(space_name, data, folder / "scratch")
        records = _mark_duplicates(convert_all(converter, photos.read(rows), n_workers))
        if len(records) != len(rows):
            raise ColorganError(
                f"{raw} should hold {len(rows)} photos, but {len(records)} could be read: run "
                f"`dvc repro -f download@{space_name}` to fetch them again"
            )
        rejected = [record for record in records if record.reason]
        _check_rejected(len(records), rejected, data, space_name)
        kept = _with_splits([record for record in records if not record.reason], data)
        if not any(record.split == "train" for record in kept):
            raise ColorganError(
                f"{raw} leaves no photo to train on: of {len(records)} photos {len(rejected)} were "
                "rejected, the others are all for validation and test"
            )
        for split in SPLITS:
            if some := [record.row for record in kept if record.split == split]:
                _write_arrays(converter, some, folder / split)
        converter.scratch.unlink()
        index = [(r.id, r.split, r.label, source, *r.size) for r in kept]
        _write_csv(folder / "index.csv", INDEX_COLUMNS, index)
        reasons = [(r.name, r.id, r.reason) for r in rejected]
        _write_csv(folder / "rejected.csv", ("name", "id", "reason"), reasons)
        counts = Counter(record.split for record in kept)
        info = DatasetInfo(
            space=space_name,
            image_size=data.image_size,
            out_channels=get_space(space_name).out_channels,
            counts={split: counts[split] for split in SPLITS},
            rejected=len(rejected),
            digest=_digest(folder),
        )
        info.write(folder)
    return info


def _read_source(raw: Path) -> str:
    """Return the name of the source that filled a raw folder, from its manifest."""
    path = raw / MANIFEST
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["source"])
    except FileNotFoundError:
        raise ColorganError(
            f"{path} does not exist: run `dvc repro download@{raw.name}` "
            f"(or `python -m colorgan download {raw.name}`) first"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ColorganError(
            f"{path} is damaged ({error}): run `dvc repro -f download@{raw.name}` to fetch it again"
        ) from None


def _chosen(n_photos: int, limit: int) -> Sequence[int]:
    """Return the rows of the photos that are used: all, or always the same random choice."""
    if not limit or limit >= n_photos:
        return range(n_photos)
    chosen = np.random.default_rng(0).permutation(n_photos)[:limit]
    return [int(row) for row in np.sort(chosen)]


def _workers(wanted: Literal["auto"] | int, n_photos: int) -> int:
    if wanted != "auto":
        return wanted
    return (os.cpu_count() or 1) if n_photos >= WORTH_PROCESSES else 0


def _mark_duplicates(records: Iterable[PhotoRecord]) -> list[PhotoRecord]:
    """Give a reason to photos with the same content as an earlier one that is kept."""
    names: dict[str, str] = {}
    marked = []
    for record in records:
        if record.reason or record.id not in names:
            marked.append(record)
        else:
            marked.append(record._replace(reason=f"duplicate: of {names[record.id]}"))
        if not record.reason:
            names.setdefault(record.id, record.name)
    return marked


def _check_rejected(
    n_photos: int, rejected: Sequence[PhotoRecord], data: DataParams, space: SpaceName
) -> None:
    """Stop if more is rejected than is allowed, with a table of the reasons."""
    share = len(rejected) / max(n_photos, 1)
    if share <= data.max_rejected and n_photos:
        return
    kinds = Counter(record.reason.split(":")[0] for record in rejected)
    listed = "".join(f"\n{count:>8}  {kind}" for kind, count in kinds.most_common())
    raise ColorganError(
        f"{len(rejected)} of {n_photos} photos in {paths.raw(space)} are rejected ({share:.0%}), "
        f"{space}.max_rejected in params.yaml allows {data.max_rejected:.0%}: mend the photos, or "
        f"raise it (see also {space}.min_side, {data.min_side} px, and {space}.min_chroma, "
        f"{data.min_chroma:g}); the reasons:{listed}"
    )


def _with_splits(kept: Sequence[PhotoRecord], data: DataParams) -> list[PhotoRecord]:
    """Return the records with their splits, in the order of index.csv."""
    splits = assign_splits(
        [(record.label, record.id, record.split) for record in kept],
        data.val_fraction,
        data.test_fraction,
    )
    index = [record._replace(split=split) for record, split in zip(kept, splits, strict=True)]
    return sorted(index, key=lambda record: (SPLITS.index(record.split), record.label, record.id))


def assign_splits(
    photos: Sequence[tuple[str, str, str]], val_fraction: float, test_fraction: float
) -> list[str]:
    """Return the split of each photo, given as (label, id, split of the source or "").

    A split that the source has is left as it is; the others are drawn from the photos without
    one: ordered by label and content hash, every k-th photo is taken. That gives each label its
    share, up to rounding, and the same photos in any order of the source.
    """
    given = {split for _, _, split in photos}
    order = sorted((i for i, photo in enumerate(photos) if not photo[2]), key=lambda i: photos[i])
    drawn: dict[int, str] = {}
    left = 1.0
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if name not in given:
            taken = {i for k, i in enumerate(order) if _is_taken(k, fraction / left)}
            drawn |= dict.fromkeys(taken, name)
            order = [i for i in order if i not in taken]
            left -= fraction
    return [split or drawn.get(i, "train") for i, (_, _, split) in enumerate(photos)]


def _is_taken(k: int, fraction: float) -> bool:
    """Say whether the k-th of a sequence is taken, so that each stretch of it gives its share."""
    return math.floor((k + 1) * fraction + 0.5) > math.floor(k * fraction + 0.5)


def _write_arrays(converter: Converter, rows: Sequence[int], folder: Path) -> None:
    """Write input.npy and target.npy of a split from rows of the scratch file.

    Photo by photo, and not through memory maps: their pages would count as this process's memory.
    """
    folder.mkdir()
    input_bytes, target_bytes = converter.row_bytes
    side = converter.data.image_size
    shape = (len(rows), side, side)
    with (
        converter.scratch.open("rb") as scratch,
        (folder / "input.npy").open("wb") as input,
        (folder / "target.npy").open("wb") as target,
    ):
        for file, whole in ((input, shape), (target, (*shape, target_bytes // input_bytes))):
            header = {"descr": "|u1", "fortran_order": False, "shape": whole}
            write_array_header_1_0(file, header)
        for row in rows:
            scratch.seek(row * (input_bytes + target_bytes))
            input.write(scratch.read(input_bytes))
            target.write(scratch.read(target_bytes))


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _digest(folder: Path) -> str:
    """Return one SHA-256 over the arrays and the index."""
    together = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.npy"), folder / "index.csv"]):
        name = path.relative_to(folder).as_posix()
        together.update(f"{name} {io.sha256(path)}\n".encode())
    return together.hexdigest()
