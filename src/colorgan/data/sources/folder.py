"""A folder of your own pictures: packed into a few Parquet files, the pictures unchanged.

Packed, because DVC and file systems are slow with many small files: 25,000 of them made
`dvc repro` 3.5 times slower than 8 Parquet files.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from stat import S_ISREG

import pyarrow as pa
import pyarrow.parquet as pq

from colorgan.config import DataParams
from colorgan.data.sources.parquet import Columns, ParquetPhotos
from colorgan.errors import ColorganError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp"}
)  # fmt: skip
IGNORED = "ignored.txt"
FILE_BYTES = 128 << 20
"""A Parquet file ends after so many bytes of pictures."""
GROUP_PHOTOS = 64
GROUP_BYTES = 16 << 20
"""A row group ends with so many photos or bytes: writing and reading hold one at a time."""
LARGEST_PICTURE = 256 << 20
"""A file larger than this is no photo that fits into memory beside others."""
SCHEMA = pa.schema(
    [("name", pa.string()), ("label", pa.string()), ("content", pa.binary()),
     ("problem", pa.string())]
)  # fmt: skip
COLUMNS = Columns(image="content", label="label", name="name", problem="problem")

Packed = tuple[str, str, bytes, str]
"""A row of SCHEMA."""


class FolderSource:
    """Pictures in a folder and the folders in it; the first folder's name is the label."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Pack the pictures, and list what was left out in ignored.txt."""
        home = Path(data.path)
        pictures, ignored = _find(home)
        if not pictures:
            raise ColorganError(
                f"{home} has no pictures ({len(ignored)} other files): the source `folder` needs a "
                "folder with JPEG, PNG, WebP, TIFF or BMP files as its path (rgb.path, lab.path)"
            )
        _write((_packed(home, name) for name in sorted(pictures)), folder)
        if ignored:
            lines = (f"{_text(name)}\t{why}\n" for name, why in sorted(ignored))
            (folder / IGNORED).write_text("".join(lines), encoding="utf-8")

    def open(self, data: DataParams, folder: Path) -> ParquetPhotos:
        """Open the Parquet files."""
        return ParquetPhotos(folder, COLUMNS)


def _find(home: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the relative names of all pictures, and of all else with why it was left out."""
    if not home.is_dir():
        what = "is a file" if home.exists() else "does not exist"
        raise ColorganError(
            f"{home} {what}: the source `folder` needs a folder of pictures as its path "
            "(rgb.path, lab.path)"
        )

    def stop(error: OSError) -> None:
        # Nobody knows how many photos are in it.
        raise ColorganError(
            f"{error.filename} cannot be listed ({error.strerror}): allow reading it, or move it "
            f"out of {home}"
        )

    pictures: list[str] = []
    ignored: list[tuple[str, str]] = []
    # A link to a folder above would bring in the whole tree again, or the whole disk.
    seen = set(home.resolve().parents)
    # Linked folders come last: one that lies here counts under its own name.
    roots = deque([home])
    while roots:
        for text, folders, files in os.walk(roots.popleft(), onerror=stop):
            folder = Path(text)
            place = folder.relative_to(home)
            if folder.resolve() in seen:
                reason = "a link to a folder that is taken already, or above"
                ignored.append((place.as_posix(), reason))
                folders.clear()
                continue
            seen.add(folder.resolve())
            # macOS leaves `._x.jpg` beside `x.jpg`.
            ignored += [((place / f).as_posix() + "/", "hidden") for f in folders if f[0] == "."]
            visible = sorted(name for name in folders if name[0] != ".")
            roots += (folder / name for name in visible if (folder / name).is_symlink())
            folders[:] = visible
            for path in map(place.joinpath, files):
                if path.name.startswith("."):
                    ignored.append((path.as_posix(), "hidden"))
                elif path.suffix.lower() in SUFFIXES:
                    pictures.append(path.as_posix())
                else:
                    what = path.suffix or "no suffix"
                    ignored.append((path.as_posix(), f"not a picture: {what}"))
    return pictures, ignored


def _packed(home: Path, name: str) -> Packed:
    """Read a picture; its label is the first folder of its name.

    One that cannot be read has no content but a problem, for rejected.csv.
    """
    path, content, problem = home / name, b"", ""
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            problem = "unreadable: not a regular file"  # Opening a pipe would wait for ever.
        elif about.st_size > LARGEST_PICTURE:
            problem = f"too large: a file of {about.st_size >> 20} MiB"
        else:
            content = path.read_bytes()
            problem = "" if content else "unreadable: the file is empty"
    except OSError as error:
        problem = f"unreadable: {error.strerror}"
    parts = PurePosixPath(_text(name)).parts
    return _text(name), parts[0] if len(parts) > 1 else "", content, problem


def _write(photos: Iterable[Packed], folder: Path) -> None:
    """Write photos-00000.parquet and on; the same photos are the same bytes."""
    writer: pq.ParquetWriter | None = None
    count = written = 0
    for group in _groups(photos):
        if writer is None:
            # Pictures are compressed already, no two alike: dictionaries and statistics of their
            # bytes would only make the files larger.
            writer = pq.ParquetWriter(
                folder / f"photos-{count:05}.parquet", SCHEMA,
                compression="NONE", use_dictionary=["label"], write_statistics=False,
            )  # fmt: skip
            count, written = count + 1, 0
        columns = zip(*group, strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), row_group_size=len(group))
        written += sum(len(content) for _, _, content, _ in group)
        if written >= FILE_BYTES:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


def _groups(photos: Iterable[Packed]) -> Iterator[list[Packed]]:
    """Yield the photos of one row group after the other."""
    group: list[Packed] = []
    size = 0
    for photo in photos:
        length = len(photo[2])
        if group and (size + length > GROUP_BYTES or len(group) == GROUP_PHOTOS):
            yield group
            group, size = [], 0
        group.append(photo)
        size += length
    if group:
        yield group


def _text(name: str) -> str:
    """Return a file name as text that can be written; bytes that are none become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
