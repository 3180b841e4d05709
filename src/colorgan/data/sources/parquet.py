"""Photos in Parquet files: encoded pictures in a column, read in batches and never whole."""

from __future__ import annotations

import json
import shutil
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from colorgan.config import DataParams
from colorgan.data.decode import RawPhoto
from colorgan.data.photo_files import find_files
from colorgan.errors import ColorganError

SUFFIX = ".parquet"
BATCH_ROWS = 16
"""So many photos are in memory at once."""
BUFFER_BYTES = 1 << 20
"""Column chunks are read through a buffer: without one, pyarrow takes a whole chunk at once."""
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What a split is called in a file, and here."""


class ParquetPhotos:
    """The photos of Parquet files, in the order of files and rows.

    Memory stays at a batch and a page (which writers end at about 1 MB, but of large pictures only
    after 1,024 of them), whatever the number of photos and the size of a row group.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        """Look at the Parquet files of `folder`; `columns` names the column of each role.

        These are `image` (bytes of a picture file, or Hugging Face's struct with a field `bytes`),
        and, where there is one, `label`, `split`, `name` (without it, `<file>:<row>`) and `problem`
        (why a photo could not be packed, or an empty text). ColorganError, which names the file and
        the column, if one is no Parquet, lacks a column, or has other images.
        """
        self._folder = folder
        self._columns = columns
        self._counts: dict[str, int] = {}
        for name in parquet_names(folder):
            with _opened(folder / name) as file:
                _check_columns(folder / name, file.schema_arrow, columns)
                self._counts[name] = file.metadata.num_rows
        if not self._counts:
            raise ColorganError(f"{folder} has no photos in it: run the stage download first")

    def __len__(self) -> int:
        return sum(self._counts.values())

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Yield the photos at `rows`, which ascend; row groups without a wanted row are skipped."""
        first = 0
        for name, count in self._counts.items():
            own = [row - first for row in _between(rows, first, first + count)]
            with _opened(self._folder / name) as file:
                yield from self._read_file(file, name, own)
            first += count

    def _read_file(self, file: Any, name: str, rows: Sequence[int]) -> Iterator[RawPhoto]:
        image = self._columns["image"]
        # Of a struct, nothing beside the bytes is read.
        is_struct = pt.is_struct(file.schema_arrow.field(image).type)
        wanted = [c for c in self._columns.values() if c != image]
        wanted.append(f"{image}.bytes" if is_struct else image)
        label_names = _label_names(file.schema_arrow, self._columns.get("label", ""))
        end = 0
        for number in range(file.num_row_groups):
            start, end = end, end + file.metadata.row_group(number).num_rows
            if not _between(rows, start, end):
                continue
            # Threads would read ahead.
            for batch in file.iter_batches(BATCH_ROWS, [number], wanted, use_threads=False):
                for row in _between(rows, start, start + batch.num_rows):
                    values = batch.slice(row - start, 1).to_pylist()[0]
                    yield self._photo(values, f"{name}:{row}", label_names)
                start += batch.num_rows

    def _photo(self, values: dict[str, Any], place: str, label_names: Sequence[str]) -> RawPhoto:
        found = {role: values[column] for role, column in self._columns.items()}
        content, label, split = (found.get(role) for role in ("image", "label", "split"))
        if isinstance(content, dict):
            content = content["bytes"]
        if "split" in found and not (isinstance(split, str) and split in SPLITS):
            raise ColorganError(
                f"{self._folder / place}: the column {self._columns['split']!r} "
                f"(parquet.split_column) has the value {split!r}; it should be train, val (or "
                "validation) or test in every row"
            )
        if label is None or (label_names and label == -1):
            label = ""  # Hugging Face writes -1 for a photo without one.
        elif isinstance(label, int) and 0 <= label < len(label_names):
            label = label_names[label]
        return RawPhoto(
            content or b"",
            found.get("name") or place,
            str(label),
            SPLITS[split] if split else None,
            found.get("problem") or ("unreadable: no picture" if content is None else ""),
        )


def _between(rows: Sequence[int], start: int, end: int) -> Sequence[int]:
    """Return those of the ascending `rows` from `start` up to, but not including, `end`."""
    return rows[bisect_left(rows, start) : bisect_left(rows, end)]


def fetch(data: DataParams, folder: Path) -> None:
    """Copy the files as they are."""
    home = Path(data.path).expanduser()
    if home.is_file() and home.suffix.lower() == SUFFIX:
        home, names = home.parent, [home.name]
    elif not (names := parquet_names(home)):
        what = f"{'has no' if home.is_dir() else 'is no'} {SUFFIX} file"
        raise ColorganError(
            f"{home} {what if home.exists() else 'does not exist'}: the source `parquet` needs "
            f"one {SUFFIX} file or a folder of them as its path (rgb.path, lab.path)"
        )
    for name in names:
        with _opened(home / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / name, folder / name)


def open_photos(data: DataParams, folder: Path) -> ParquetPhotos:
    """Open the copied files with the columns that the parameters name."""
    wanted = data.parquet
    columns = {
        "image": wanted.image_column, "label": wanted.label_column, "split": wanted.split_column,
    }  # fmt: skip
    return ParquetPhotos(folder, {role: name for role, name in columns.items() if name})


def parquet_names(folder: Path) -> list[str]:
    """Return the relative names of the Parquet files in a folder and the folders in it, sorted.

    Raises:
        ColorganError: one of them cannot be read, and nobody knows how many photos it has.
    """
    names = []
    for file in find_files(folder, (SUFFIX,)) if folder.is_dir() else ():
        is_parquet = file.path.suffix.lower() == SUFFIX
        if file.kind == "unreadable" and (is_parquet or file.path.is_dir()):
            raise ColorganError(f"{file.path} is {file.reason}; mend it or move it away")
        if file.kind == "photo":
            names.append(file.path.relative_to(folder).as_posix())
    return sorted(names)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file; what pyarrow says of it becomes a ColorganError that names it."""
    try:
        with pq.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # The system's own errors say it themselves: no space left, permission denied.
            raise
        reason = " ".join(str(error).split())
        raise ColorganError(
            f"{path} is no whole Parquet file ({reason}): fetch or write it again"
        ) from None


def _check_columns(path: Path, schema: pa.Schema, columns: Mapping[str, str]) -> None:
    """Require the named columns, and bytes as images."""
    for role, name in columns.items():
        if schema.names.count(name) != 1:
            has = "has more than one" if name in schema.names else "has no"
            none = "" if role == "image" else ", or '' for none"
            raise ColorganError(
                f"{path} {has} column {name!r} (parquet.{role}_column); it has "
                f"{', '.join(schema.names)}: name one of them{none}"
            )
    inner = kind = schema.field(columns["image"]).type
    if pt.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        inner = kind.field("bytes").type
    if not (pt.is_binary(inner) or pt.is_large_binary(inner) or pt.is_binary_view(inner)):
        raise ColorganError(
            f"{path}: the column {columns['image']!r} (parquet.image_column) is {kind}; it should "
            "hold the bytes of picture files, as binary or as Hugging Face's struct with `bytes`"
        )


def _label_names(schema: pa.Schema, column: str) -> list[str]:
    """Return the names that Hugging Face's metadata gives to the numbers of a label column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
