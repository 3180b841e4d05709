"""A folder of your own pictures: packed into a few Parquet files, the pictures unchanged.

Packed, because DVC and file systems are slow with many small files: 25,000 of them made
`dvc repro` 3.5 times slower than 8 shards.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from colorgan.config import DataParams
from colorgan.data.sources.parquet import Columns, ParquetPhotos, parquet_names
from colorgan.errors import ColorganError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp"}
)  # fmt: skip
IGNORED = "ignored.txt"
SHARD_BYTES = 128 << 20
GROUP_PHOTOS = 64
GROUP_BYTES = 16 << 20
"""A row group ends with so many photos or bytes: writing and reading hold one at a time."""
LARGEST_FILE = 256 << 20
"""A file larger than this is no photo that fits into memory beside others."""
SCHEMA = pa.schema(
    [("name", pa.string()), ("label", pa.string()), ("content", pa.binary()),
     ("problem", pa.string())]
)  # fmt: skip
COLUMNS = Columns(image="content", label="label", name="name", problem="problem")


class FolderSource:
    """Pictures in a folder and the folders in it; the first folder's name is the label."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Pack the pictures into shards, and list what was left out in ignored.txt."""
        home = Path(data.path)
        found = _find(home)
        if not found.pictures:
            raise ColorganError(
                f"{home} has no pictures ({len(found.ignored)} other files): the source `folder` "
                "needs a folder with JPEG, PNG, WebP, TIFF or BMP files as its path "
                "(rgb.path, lab.path)"
            )
        with _Shards(folder) as shards:
            for name in sorted(found.pictures):
                shards.add(name, *_read(home / name))
        if found.ignored:
            lines = (f"{_text(name)}\t{why}\n" for name, why in sorted(found.ignored))
            (folder / IGNORED).write_text("".join(lines), encoding="utf-8")

    def open(self, data: DataParams, folder: Path) -> ParquetPhotos:
        """Open the shards."""
        names = parquet_names(folder)
        if not names:
            raise ColorganError(f"{folder} has no photos in it: run the stage download first")
        return ParquetPhotos(folder, names, COLUMNS)


@dataclass
class _Found:
    """Relative names of the pictures, and of everything else with why it was left out."""

    pictures: list[str] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def _find(home: Path) -> _Found:
    """Walk through a folder; links to folders are followed after all else, each folder once."""
    if not home.is_dir():
        what = "is a file" if home.exists() else "does not exist"
        raise ColorganError(
            f"{home} {what}: the source `folder` needs a folder of pictures as its path "
            "(rgb.path, lab.path)"
        )
    found = _Found()
    todo, links = deque([""]), deque[str]()
    seen: set[tuple[int, int]] = set()
    # The folders above would bring the whole tree in again, or the whole disk.
    above = {_identity(parent) for parent in home.resolve().parents}
    while todo or links:
        linked = not todo
        name = links.popleft() if linked else todo.popleft()
        identity = _identity(home / name)
        if linked and identity in seen | above:
            found.ignored.append((name, "a link to a folder that is taken already, or above"))
            continue
        seen.add(identity)
        for entry, kind in _entries(home, name):
            if kind == "file":
                _sort_in(entry, found)
            elif PurePosixPath(entry).name.startswith("."):
                found.ignored.append((f"{entry}/", "hidden"))
            else:
                (links if kind == "link" else todo).append(entry)
    return found


def _entries(home: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield what is in a folder by relative name, and whether it is a file, folder or link to one.

    Raises:
        ColorganError: the folder may not be listed; nobody knows how many photos are in it.
    """
    try:
        with os.scandir(home / name) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise ColorganError(
            f"{home / name} cannot be listed ({error.strerror}): allow reading it, or move it out "
            f"of {home}"
        ) from None
    for entry in entries:
        path = f"{name}/{entry.name}" if name else entry.name
        if _is_folder(entry):
            yield path, "link" if entry.is_symlink() else "folder"
        else:
            yield path, "file"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, say: a file that cannot be read, and listed as such.
        return False


def _sort_in(name: str, found: _Found) -> None:
    """Put a file among the pictures or the ignored; macOS leaves `._x.jpg` beside `x.jpg`."""
    path = PurePosixPath(name)
    if path.name.startswith("."):
        found.ignored.append((name, "hidden"))
    elif path.suffix.lower() in SUFFIXES:
        found.pictures.append(name)
    else:
        found.ignored.append((name, f"not a picture: {path.suffix or 'no suffix'}"))


def _read(path: Path) -> tuple[bytes, str]:
    """Return the bytes of a picture file, or none and the problem for rejected.csv."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe would wait for ever.
            return b"", "unreadable: not a regular file"
        if status.st_size > LARGEST_FILE:
            return b"", f"too large: a file of {status.st_size >> 20} MiB"
        content = path.read_bytes()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return b"", f"unreadable: {error.strerror}"
    return content, "" if content else "unreadable: the file is empty"


class _Shards:
    """Writes photos into photos-00000.parquet and on; the same photos are the same bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[tuple[str, str, bytes, str]] = []
        self._waiting = 0
        self._written = 0
        self._count = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
        self._close()

    def add(self, name: str, content: bytes, problem: str) -> None:
        """Add a photo; its label is the first folder of its name."""
        if self._waiting + len(content) > GROUP_BYTES or len(self._rows) == GROUP_PHOTOS:
            self._flush()
        parts = PurePosixPath(_text(name)).parts
        self._rows.append((_text(name), parts[0] if len(parts) > 1 else "", content, problem))
        self._waiting += len(content)

    def _flush(self) -> None:
        """Write the waiting photos as a row group, and end the shard when it is full."""
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        self._open().write_table(table, row_group_size=len(self._rows))
        self._written += self._waiting
        self._rows, self._waiting = [], 0
        if self._written >= SHARD_BYTES:
            self._close()

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            path = self._folder / f"photos-{self._count:05}.parquet"
            # Pictures are compressed already, no two alike: dictionaries and statistics of their
            # bytes would only make the files larger.
            self._writer = pq.ParquetWriter(
                path, SCHEMA, compression="NONE", use_dictionary=["label"], write_statistics=False
            )
            self._count += 1
            self._written = 0
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _text(name: str) -> str:
    """Return a file name as text that can be written; bytes that are none become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
