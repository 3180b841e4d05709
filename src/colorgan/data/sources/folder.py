"""A folder of your own pictures: packed into a few Parquet files, the pictures unchanged.

Packed, because DVC and file systems are slow with many small files: 25,000 of them made
`dvc repro` 3.5 times slower than 8 Parquet files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from colorgan.config import DataParams
from colorgan.data.decode import RawPhoto
from colorgan.data.photo_files import FoundFile, batched, find_files
from colorgan.data.sources.parquet import ParquetPhotos
from colorgan.errors import ColorganError

LEFT_OUT = "ignored.txt"
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
COLUMNS = {"image": "content", "label": "label", "name": "name", "problem": "problem"}


def fetch(data: DataParams, folder: Path) -> None:
    """Pack the pictures; list in ignored.txt, and count, what is left out."""
    home = Path(data.path).expanduser()
    found = list(find_files(home)) if home.is_dir() else []
    left_out = [file for file in found if file.kind == "left out"]
    kinds = Counter(file.reason.split(":")[0] for file in left_out)
    counted = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    if len(left_out) == len(found):
        what = f"has no pictures (left out: {counted or 'nothing'})"
        if not home.is_dir():
            what = "is a file" if home.exists() else "does not exist"
        raise ColorganError(
            f"{home} {what}: the source `folder` needs a folder of pictures as its path "
            "(rgb.path, lab.path)"
        )
    _write((_packed(home, file) for file in found if file.kind != "left out"), folder)
    print(f"{len(found) - len(left_out)} photos in {home}")
    if left_out:
        lines = [f"{_name(home, file)}\t{file.reason}\n" for file in left_out]
        (folder / LEFT_OUT).write_text("".join(lines), encoding="utf-8")
        print(f"left out, and listed in {LEFT_OUT} among the raw files: {counted}")


def open_photos(data: DataParams, folder: Path) -> ParquetPhotos:  # noqa: ARG001
    """Open the Parquet files."""
    return ParquetPhotos(folder, COLUMNS)


def _name(home: Path, file: FoundFile) -> str:
    """Return the path below `home` as text that can be written; other bytes become U+FFFD."""
    name = file.path.relative_to(home).as_posix()
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _packed(home: Path, file: FoundFile) -> RawPhoto:
    """Read a picture; its label is the first folder of its name.

    One that cannot be read has no content but a problem, for rejected.csv.
    """
    content, problem = b"", file.reason
    try:
        if not problem and (size := file.path.stat().st_size) > LARGEST_PICTURE:
            problem = f"too large: a file of {size >> 20} MiB"
        if not problem:
            content = file.path.read_bytes()
            problem = "" if content else "unreadable: the file is empty"
    except OSError as error:
        problem = f"unreadable: {error.strerror}"
    name = _name(home, file)
    label, slash, _ = name.partition("/")
    return RawPhoto(content, name, label if slash else "", problem=problem)


def _write(photos: Iterable[RawPhoto], folder: Path) -> None:
    """Write photos-00000.parquet and on; the same photos are the same bytes."""
    groups = batched(photos, GROUP_PHOTOS, GROUP_BYTES, lambda photo: len(photo.content))
    for number, first in enumerate(groups):
        path, written = folder / f"photos-{number:05}.parquet", 0
        # Pictures are compressed already, no two alike: dictionaries and statistics of their
        # bytes would only make the files larger.
        with pq.ParquetWriter(
            path, SCHEMA, compression="NONE", use_dictionary=["label"], write_statistics=False
        ) as writer:
            for group in chain([first], groups):
                columns = [[getattr(photo, name) for photo in group] for name in SCHEMA.names]
                writer.write_batch(pa.record_batch(columns, SCHEMA))
                written += sum(len(photo.content) for photo in group)
                if written >= FILE_BYTES:
                    break
