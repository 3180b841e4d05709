"""The stage preprocess: photos of data/raw/<space> into the uint8 arrays that a space trains on."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.format import write_array_header_1_0

from colorgan import io, paths
from colorgan.config import SPLITS, DataParams, Params, SpaceName
from colorgan.data import conversion
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo
from colorgan.data.conversion import Conversion
from colorgan.data.manifest import MANIFEST, read_manifest
from colorgan.data.sources import get_source
from colorgan.data.split import assign_splits
from colorgan.errors import ColorganError
from colorgan.spaces import get_space

WORTH_PROCESSES = 1000
"""From this many photos on, starting processes takes less time than it saves."""


def preprocess(params: Params, space_name: SpaceName) -> DatasetInfo:
    """Make the arrays of a space; see `colorgan.data.arrays` for what is written.

    A run that was interrupted goes on where it stopped.

    Raises:
        ColorganError: there are no raw photos, too many of them are rejected, or none is left to
            train on.
    """
    data, space = params.space(space_name).data, get_space(space_name)
    raw = paths.raw(space_name)
    source = read_manifest(raw)["source"]
    photos = get_source(source).open(data, raw)
    rows = _chosen(len(photos), data.limit)
    work = Conversion(
        photos,
        space_name,
        data.image_size,
        data.min_side,
        data.min_chroma,
        _work_folder(data, raw, space_name),
    )
    n_workers = _workers(params.runtime.preprocess_workers, len(rows))
    table = _without_duplicates(conversion.convert_all(work, rows, n_workers))
    rejected = table.loc[table["reason"] != "", ["name", "id", "reason"]]
    _check_rejected(len(rows), rejected["reason"], data, space_name)
    index = _index(table[table["reason"] == ""], data, source)
    _check_counts(len(rows), index, len(rejected), raw)
    with io.folder_aside(paths.processed(space_name)) as folder:
        _write_splits(folder, index, work, space.out_channels)
        index[list(INDEX_COLUMNS)].to_csv(folder / "index.csv", index=False)
        rejected.to_csv(folder / "rejected.csv", index=False)
        counts = Counter(index["split"])
        info = DatasetInfo(
            space=space_name,
            image_size=data.image_size,
            out_channels=space.out_channels,
            counts={name: counts[name] for name in SPLITS},
            rejected=len(rejected),
            digest=_digest(folder),
        )
        info.write(folder)
    shutil.rmtree(work.folder.parent)
    return info


def _chosen(n_photos: int, limit: int) -> Sequence[int]:
    """Return the rows of the photos that are used: all, or a random choice, always the same."""
    if not limit or limit >= n_photos:
        return range(n_photos)
    chosen = np.random.default_rng(0).permutation(n_photos)[:limit]
    return [int(row) for row in np.sort(chosen)]


def _workers(wanted: Literal["auto"] | int, n_photos: int) -> int:
    if wanted != "auto":
        return wanted
    return (os.cpu_count() or 1) if n_photos >= WORTH_PROCESSES else 0


def _work_folder(data: DataParams, raw: Path, space: SpaceName) -> Path:
    """Return where half-done work is kept: another place for other parameters, photos or code."""
    package = Path(__file__).parents[1]
    code = [package / "color.py", package / "spaces.py", *sorted(package.glob("data/**/*.py"))]
    parts = [
        json.dumps(data.model_dump(), sort_keys=True),
        io.sha256(raw / MANIFEST),
        *(io.sha256(file) for file in code),
    ]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return paths.resume(f"preprocess_{space}") / digest


def _without_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Give a reason to photos with the same content as an earlier one."""
    good = table[table["reason"] == ""]
    again = good[good["id"].duplicated()]
    if len(again):
        first = good.drop_duplicates("id").set_index("id")["name"]
        table.loc[again.index, "reason"] = "duplicate: of " + again["id"].map(first)
    return table


def _check_rejected(
    n_photos: int, reasons: pd.Series[str], data: DataParams, space: SpaceName
) -> None:
    """Stop if more is rejected than is allowed, with a table of the reasons."""
    share = len(reasons) / max(n_photos, 1)
    if share <= data.max_rejected and n_photos:
        return
    kinds = Counter(str(reason).split(":")[0] for reason in reasons)
    listed = "".join(f"\n{count:>8}  {kind}" for kind, count in kinds.most_common())
    raise ColorganError(
        f"{len(reasons)} of {n_photos} photos in {paths.raw(space)} are rejected ({share:.0%}), "
        f"{space}.max_rejected in params.yaml allows {data.max_rejected:.0%}: mend the photos, or "
        f"raise it (see also {space}.min_side, {data.min_side} px, and {space}.min_chroma, "
        f"{data.min_chroma:g}); the reasons:{listed}"
    )


def _index(kept: pd.DataFrame, data: DataParams, source: str) -> pd.DataFrame:
    """Return index.csv, split by split, with the row each photo has in the converted arrays."""
    photos = list(zip(kept["label"], kept["id"], (s or None for s in kept["split"]), strict=True))
    index = kept.drop(columns=["name", "reason"])
    splits = assign_splits(photos, data.val_fraction, data.test_fraction)
    index["split"] = pd.Categorical(splits, SPLITS, ordered=True)
    index["source"] = source
    return index.sort_values(["split", "label", "id"], ignore_index=True)


def _check_counts(n_photos: int, index: pd.DataFrame, n_rejected: int, raw: Path) -> None:
    """Every photo is either kept or listed with its reason, and some are there to train on."""
    if len(index) + n_rejected != n_photos:
        raise ColorganError(
            f"{raw} has {n_photos} photos, of which {len(index)} were kept and {n_rejected} "
            "rejected: some were lost; this is a fault of colorgan, please tell us"
        )
    if not (index["split"] == "train").any():
        raise ColorganError(
            f"{raw} leaves no photo to train on: of {n_photos} photos {n_rejected} were rejected, "
            "the others are all for validation and test"
        )


def _write_splits(folder: Path, index: pd.DataFrame, work: Conversion, out_channels: int) -> None:
    """Copy each split's rows out of the converted arrays."""
    square = (work.side, work.side)
    for name in SPLITS:
        rows = index.loc[index["split"] == name, "row"].to_numpy()
        if len(rows):
            (folder / name).mkdir()
            _copy_rows(work.input_file, square, rows, folder / name / "input.npy")
            _copy_rows(
                work.target_file, (*square, out_channels), rows, folder / name / "target.npy"
            )


def _copy_rows(file: Path, shape: tuple[int, ...], rows: npt.NDArray[np.intp], npy: Path) -> None:
    """Copy rows, each an array of `shape`, out of a bare file into a .npy, one by one.

    Read and not mapped: mapped pages count as this process's memory.
    """
    size = math.prod(shape)
    with file.open("rb", buffering=0) as source, npy.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
        write_array_header_1_0(out, header)
        for row in rows:
            source.seek(int(row) * size)
            out.write(source.read(size))


def _digest(folder: Path) -> str:
    """Return one SHA-256 over the arrays and the index."""
    together = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.npy"), folder / "index.csv"]):
        name = path.relative_to(folder).as_posix()
        together.update(f"{name} {io.sha256(path)}\n".encode())
    return together.hexdigest()
