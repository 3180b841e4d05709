"""The on-disk format of a data set: .npy arrays, index.csv and dataset.json.

::

    data/processed/<space>/
        dataset.json                 version, space, image size, counts, digest
        index.csv                    a row per photo, in the order of the arrays, split by split
        rejected.csv                 a row per photo that was left out, with the reason
        <split>/input.npy            (N, H, W) uint8
        <split>/target.npy           (N, H, W, C) uint8

The arrays are memory-mapped: however many photos there are, only those of a batch are read.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.lib.format import open_memmap

from colorgan import io
from colorgan.color import UInt8Array
from colorgan.config import SPLITS
from colorgan.errors import ColorganError

if TYPE_CHECKING:
    import pandas as pd

MappedArray = np.memmap[Any, np.dtype[np.uint8]]
T = TypeVar("T")
VERSION = 1
INDEX_COLUMNS = ("id", "split", "label", "source", "width", "height")


@dataclass(frozen=True)
class DatasetInfo:
    """The content of dataset.json."""

    space: str
    image_size: int  # side of the square arrays in pixels
    out_channels: int  # channels of the target
    counts: dict[str, int]  # photos by split
    rejected: int  # photos left out
    digest: str  # SHA-256 over the arrays and the index; names the data in every run
    version: int = VERSION

    def write(self, folder: Path) -> None:
        """Write dataset.json into `folder`."""
        io.write_json(folder / "dataset.json", asdict(self))


@dataclass(frozen=True)
class Split:
    """The photos of one split, memory-mapped."""

    name: str  # train, val or test
    input: UInt8Array  # (N, H, W)
    target: UInt8Array  # (N, H, W, C)
    index: pd.DataFrame  # N rows of index.csv, in the order of the arrays
    folder: Path | None = None  # where it was opened; None for a part that is in memory

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path, not the photos: a worker process opens the files itself."""
        if self.folder is None:
            return Split, (self.name, self.input, self.target, self.index)
        return open_split, (self.folder, self.name)

    def __len__(self) -> int:
        return len(self.input)

    def release(self) -> None:
        """Release the pages read so far, which count as this process's memory.

        They stay in the system's file cache, so that reading them again costs next to nothing.
        """
        for array in (self.input, self.target):
            # Private, but NumPy has no other way to the map.
            mapped = getattr(array, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

    def take(self, rows: Sequence[int]) -> Split:
        """Return the photos at `rows`, in that order, read into memory."""
        picked = list(rows)
        index = self.index.iloc[picked].reset_index(drop=True)
        return Split(self.name, self.input[picked], self.target[picked], index)


def read_made(path: Path, stage: str, kind: Callable[..., T]) -> T:
    """Read a JSON file that a stage has written, as a dataclass.

    ColorganError, which says how to make it, if it is missing or damaged.
    """
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ColorganError(
            f"{path} does not exist: run `dvc repro {stage}` "
            f"(or `python -m colorgan {stage.replace('@', ' ')}`) first"
        ) from None
    except (ValueError, TypeError) as error:
        raise ColorganError(
            f"{path} is damaged ({error}): run `dvc repro -f {stage}` to make it again"
        ) from None


def read_info(folder: Path) -> DatasetInfo:
    """Read dataset.json of `folder`; ColorganError if it is not there, damaged, or not its own."""
    path, space = folder / "dataset.json", folder.name
    info = read_made(path, f"preprocess@{space}", DatasetInfo)
    if (info.version, info.space, [*info.counts]) != (VERSION, space, [*SPLITS]):
        raise ColorganError(
            f"{path} is of version {info.version} and the space {info.space}; it should be of "
            f"version {VERSION} and {space}: {_remake(space)}"
        )
    return info


def open_split(folder: Path, name: str) -> Split:
    """Open the arrays of one split, memory-mapped, and check them against dataset.json.

    ColorganError, which names the file, if one is missing or does not fit.
    """
    # Imported here: the processes that preprocess starts do without it, and start faster.
    import pandas as pd

    info = read_info(folder)
    count, side = info.counts[name], info.image_size
    shapes = {"input": (count, side, side), "target": (count, side, side, info.out_channels)}
    # An empty file cannot be mapped; an empty split needs no file at all.
    input, target = (
        open_array(folder / name / f"{kind}.npy", shape, f"; {_remake(info.space)}")
        if count
        else np.zeros(shape, np.uint8)
        for kind, shape in shapes.items()
    )
    path, text = folder / "index.csv", {"id": str, "label": str}
    try:
        # Columns that are missing are among the ValueErrors.
        index = pd.read_csv(path, dtype=text, keep_default_na=False, usecols=INDEX_COLUMNS)
        index = index[index["split"] == name].reset_index(drop=True)
        if len(index) != count:
            raise ValueError(f"it has {len(index)} {name} photos, the arrays have {count}")
    except (OSError, ValueError) as error:
        raise ColorganError(f"{path} cannot be used ({error}): {_remake(info.space)}") from None
    return Split(name, input, target, index, folder.resolve())


def open_array(path: Path, shape: tuple[int | str, ...], advice: str = "") -> MappedArray:
    """Map an .npy file of uint8 to memory; a name in `shape` stands for any length.

    ColorganError, which ends with the advice, if it is missing, damaged, or of another shape.
    """
    try:
        array: MappedArray = open_memmap(path, "r")
        fits = len(array.shape) == len(shape) and all(
            isinstance(wanted, str) or length == wanted
            for length, wanted in zip(array.shape, shape, strict=True)
        )
        if array.dtype != np.uint8 or not fits or not array.size or not array.flags.c_contiguous:
            raise ValueError(f"it holds {array.dtype} {array.shape}")
    except Exception as error:
        # The header is Python source: damaged, it raises nearly anything.
        reason = getattr(error, "strerror", None) or error
        raise ColorganError(
            f"{path} cannot be used ({reason}): it should be an .npy file of uint8 "
            f"({', '.join(map(str, shape))}){advice}"
        ) from error
    return array


def _remake(space: str) -> str:
    return f"run `dvc repro -f preprocess@{space}` to make it again"
