"""Photos in Parquet files: encoded pictures in a column, read in batches and never whole."""

from __future__ import annotations

import os
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colorgan.config import DataParams
from colorgan.data.decode import EncodedPhoto
from colorgan.data.sources.parquet_columns import (
    SPLIT_NAMES,
    Columns,
    check_columns,
    check_splits,
    image_column,
    image_leaf,
    label_names,
    label_text,
)
from colorgan.errors import ColorganError

__all__ = ["Columns", "ParquetPhotos", "ParquetSource", "parquet_names"]

SUFFIX = ".parquet"
BATCH_ROWS = 256
BATCH_BYTES = 8 << 20
"""A batch has at most so many rows, and about so many bytes of pictures."""
BUFFER_BYTES = 1 << 20
"""Column chunks are read through a buffer: without one, pyarrow takes a whole chunk at once."""
NO_PICTURE = "unreadable: no picture"


@dataclass(frozen=True)
class _Group:
    """A row group: its file, its number there, the first of its rows there, and their number."""

    file: int
    number: int
    first: int
    rows: int
    batch_rows: int


class ParquetPhotos:
    """The photos of Parquet files, in the order of files and rows.

    It holds the layout of the files and no content. Memory stays at a batch and a page (which
    writers end at about 1 MB, but of large pictures only after 1,024 of them), whatever the
    number of photos. Reading goes on where it last was, so that many short reads in ascending
    order cost as much as one long read, also where a file has one huge row group. That place
    stays in its process; it is not pickled.
    """

    def __init__(self, folder: Path, names: Sequence[str], columns: Columns) -> None:
        """Look at the files `names` in `folder`.

        Raises:
            ColorganError: a file is no Parquet, lacks a column, has one of the wrong type, or has
                a split that is none of train, val and test; names the file and the column.
        """
        self.folder = folder
        self.names = tuple(names)
        self.columns = columns
        groups: list[_Group] = []
        for number, name in enumerate(self.names):
            groups += _groups(folder / name, number, columns)
        self._groups = tuple(groups)
        self._ends = tuple(accumulate(group.rows for group in groups))
        self._place: _Place | None = None

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_place": None}

    def read(self, rows: Sequence[int]) -> Iterator[EncodedPhoto]:
        """Yield the photos at `rows`, which ascend; row groups without a wanted row are skipped."""
        for row in rows:
            if not 0 <= row < len(self):
                raise IndexError(f"row {row} of {len(self)}")
            at = bisect_right(self._ends, row)
            group = self._groups[at]
            yield self._photo(group, row - self._ends[at] + group.rows)

    def _photo(self, group: _Group, row: int) -> EncodedPhoto:
        """Return the photo at `row` of a row group."""
        name = self.names[group.file]
        with _named_errors(self.folder / name):
            place = self._place
            # A file that was opened before a fork shares its position with the parent.
            if place is None or place.file_number != group.file or place.pid != os.getpid():
                place = self._place = _Place(self.folder / name, group.file, self.columns)
            values = place.row(group, row)
        return EncodedPhoto(
            content=values.content or b"",
            name=values.name or f"{name}:{group.first + row}",
            label=values.label,
            split=values.split,
            problem=values.problem or ("" if values.content is not None else NO_PICTURE),
        )


@dataclass(frozen=True)
class _Values:
    """The values of a row."""

    content: bytes | None
    label: str
    split: str | None
    name: str
    problem: str


class _Place:
    """An open file and the batch of rows that is being read in it."""

    def __init__(self, path: Path, file_number: int, columns: Columns) -> None:
        self.file_number = file_number
        self.pid = os.getpid()
        self._file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False)
        schema = self._file.schema_arrow
        self._columns = columns
        self._image_column = image_column(schema, columns.image)
        self._image_leaf = image_leaf(schema, columns.image)
        self._label_names = label_names(schema, columns.label)
        self._group = -1
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None
        self._start = 0

    def row(self, group: _Group, row: int) -> _Values:
        """Return the values of a row of a row group, reading on from the present batch."""
        if group.number != self._group or row < self._start:
            self._open_group(group)
        while self._batch is None or row >= self._start + self._batch.num_rows:
            self._start += self._batch.num_rows if self._batch is not None else 0
            self._batch = None
            self._batch = next(self._batches, None)
            if self._batch is None:
                self._group = -1
                raise pa.ArrowInvalid(f"row group {group.number} ends before its row {row}")
        return self._values(self._batch, row - self._start)

    def _open_group(self, group: _Group) -> None:
        self._group, self._start, self._batch = group.number, 0, None
        wanted = self._columns
        others = (wanted.label, wanted.split, wanted.name, wanted.problem)
        # Threads would read ahead; worker processes are what uses the cores.
        self._batches = self._file.iter_batches(
            batch_size=group.batch_rows,
            row_groups=[group.number],
            columns=[self._image_leaf, *(name for name in others if name)],
            use_threads=False,
        )

    def _values(self, batch: pa.RecordBatch, row: int) -> _Values:
        def value(column: str) -> Any:
            return batch.column(column)[row].as_py() if column else None

        image = value(self._image_column)
        label, split = value(self._columns.label), value(self._columns.split)
        return _Values(
            content=image["bytes"] if isinstance(image, dict) else image,
            label=label_text(label, self._label_names),
            split=SPLIT_NAMES[split] if self._columns.split else None,
            name=value(self._columns.name) or "",
            problem=value(self._columns.problem) or "",
        )


class ParquetSource:
    """Your own photos in one Parquet file or a folder of them."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Copy the files as they are."""
        home = Path(data.path)
        single = home.is_file() and home.suffix.lower() == SUFFIX
        names = [home.name] if single else parquet_names(home)
        if not names:
            what = "has no" if home.is_dir() else "is no"
            what = f"{what} {SUFFIX} file" if home.exists() else "does not exist"
            raise ColorganError(
                f"{home} {what}: the source `parquet` "
                f"needs one {SUFFIX} file or a folder of them as its path (rgb.path, lab.path)"
            )
        for name in names:
            original = home if single else home / name
            with _named_errors(original):
                pq.read_metadata(original)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(original, folder / name)

    def open(self, data: DataParams, folder: Path) -> ParquetPhotos:
        """Open the copied files with the columns that the parameters name."""
        wanted = data.parquet
        columns = Columns(wanted.image_column, wanted.label_column, wanted.split_column)
        names = parquet_names(folder)
        if not names:
            raise ColorganError(f"{folder} has no {SUFFIX} file: run the stage download first")
        return ParquetPhotos(folder, names, columns)


def parquet_names(folder: Path) -> list[str]:
    """Return the Parquet files in a folder and the folders in it, sorted by relative name."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() == SUFFIX and path.is_file()
    )


class _named_errors:  # noqa: N801 - used like a function
    """Turn what pyarrow and the system say of a file into a ColorganError that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            # The system's own errors say it themselves: no space left, permission denied.
            raise error
        if isinstance(error, (pa.ArrowException, OSError, UnicodeDecodeError)):
            reason = " ".join(str(error).split())
            raise ColorganError(
                f"{self.path} is no whole Parquet file ({reason}): fetch or write it again"
            ) from None


def _groups(path: Path, number: int, columns: Columns) -> list[_Group]:
    """Check a file's columns and return its row groups."""
    with _named_errors(path), pq.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
        check_columns(path, file.schema_arrow, columns)
        check_splits(path, file, columns.split)
        metadata, leaf = file.metadata, image_leaf(file.schema_arrow, columns.image)
        groups, first = [], 0
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            size = next(
                chunk.total_uncompressed_size
                for chunk in map(group.column, range(group.num_columns))
                if chunk.path_in_schema == leaf
            )
            mean = max(1, size // max(1, group.num_rows))
            batch_rows = min(BATCH_ROWS, max(1, BATCH_BYTES // mean))
            groups.append(_Group(number, index, first, group.num_rows, batch_rows))
            first += group.num_rows
    return groups
