"""STL-10: 113,000 photos of 96x96 pixels, https://cs.stanford.edu/~acoates/stl10/.

Fetched from the address and checked by the checksum that torchvision carries, but read photo by
photo: torchvision's class loads a part whole, 2.7 GB for the photos without a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path

import numpy as np
from PIL import Image

from colorgan.config import DataParams
from colorgan.data.decode import DecodedPhoto
from colorgan.data.sources.base import RawPhoto, between
from colorgan.errors import ColorganError, ParamsError

SIDE = 96
PHOTO_BYTES = 3 * SIDE * SIDE
FOLDER = "stl10_binary"
CLASS_NAMES = "class_names.txt"
FILES = {
    "train": ("train_X.bin", "train_y.bin"),
    "test": ("test_X.bin", "test_y.bin"),
    "unlabeled": ("unlabeled_X.bin",),
}
"""The files of each part: pixels, and a byte of label a photo where it has them."""


@dataclass(frozen=True)
class Part:
    """A part of STL-10: its file of pixels, how many photos, and a class (from 1) for each.

    `labels` is empty for a part without labels.
    """

    name: str
    pixels: Path
    count: int
    labels: bytes


@dataclass(frozen=True)
class Stl10Photos:
    """The photos of the chosen parts, one part after the other, in the order of the files."""

    parts: tuple[Part, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return sum(part.count for part in self.parts)

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Read the photos one by one."""
        first = 0
        for part in self.parts:
            with part.pixels.open("rb") as file:
                for row in between(rows, first, first + part.count):
                    file.seek((row - first) * PHOTO_BYTES)
                    yield self._photo(part, row - first, file.read(PHOTO_BYTES))
            first += part.count

    def _photo(self, part: Part, index: int, content: bytes) -> RawPhoto:
        label = self.classes[part.labels[index] - 1] if part.labels else ""
        split = "test" if part.name == "test" else None
        return RawPhoto(content, f"{part.name}/{index:05d}", label, split, decoder=_decode)


def _decode(content: bytes, side: int) -> DecodedPhoto:  # noqa: ARG001 - there is nothing smaller
    """Turn 3 colours x 96 columns x 96 rows, a byte each, into a picture."""
    columns = np.frombuffer(content, np.uint8).reshape(3, SIDE, SIDE)
    rows = np.ascontiguousarray(columns.transpose(2, 1, 0))
    return DecodedPhoto(Image.fromarray(rows), "srgb", (SIDE, SIDE))


class Stl10Source:
    """The files of STL-10, as its archive has them, in `stl10_binary/`.

    torchvision's class can read the raw folder as its `root`, if all parts are chosen. For mirrors,
    COLORGAN_STL10_URL names another address and COLORGAN_STL10_MD5 its archive's checksum.
    """

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Download the archive into the user's cache and unpack the chosen parts."""
        names = [name for part in _chosen(data) for name in FILES[part]]
        # Slow to import, and of torchvision only the address and the checksum are needed.
        from torchvision.datasets import STL10

        from colorgan.data.sources.fetching import cache_folder, extract_members, fetch_file

        url = environ.get("COLORGAN_STL10_URL") or STL10.url
        md5 = (environ.get("COLORGAN_STL10_MD5") or STL10.tgz_md5).lower()
        # A folder for each checksum: the archives of two mirrors do not replace each other.
        archive = fetch_file(url, cache_folder() / "stl10" / md5 / STL10.filename, md5)
        extract_members(archive, [f"{FOLDER}/{name}" for name in (*names, CLASS_NAMES)], folder)

    def open(self, data: DataParams, folder: Path) -> Stl10Photos:
        """Check the sizes of the files and all labels; pixels are not read."""
        home = folder / FOLDER
        lines = _read(home / CLASS_NAMES).decode("ascii", "replace").splitlines()
        classes = tuple(line.strip() for line in lines if line.strip())
        parts = tuple(_open_part(home, part, len(classes)) for part in _chosen(data))
        return Stl10Photos(parts, classes)


def _chosen(data: DataParams) -> list[str]:
    chosen = [part for part in FILES if getattr(data.stl10, part)]
    if not chosen:
        raise ParamsError(
            "stl10.train, stl10.test and stl10.unlabeled are all false; at least one should be true"
        )
    return chosen


def _open_part(home: Path, name: str, n_classes: int) -> Part:
    pixels, *label_files = (home / file for file in FILES[name])
    if not pixels.is_file():
        raise _absent(pixels)
    count, rest = divmod(pixels.stat().st_size, PHOTO_BYTES)
    if rest or not count:
        raise ColorganError(
            f"{pixels} has {pixels.stat().st_size} bytes; it should have a positive multiple of "
            f"{PHOTO_BYTES}, so it is truncated or another file"
        )
    labels = b"".join(_read(file) for file in label_files)
    if label_files and (len(labels) != count or not set(labels) <= set(range(1, n_classes + 1))):
        raise ColorganError(
            f"{label_files[0]} should hold {count} bytes, one for each photo beside it, from 1 to "
            f"{n_classes}, for there are so many classes in {CLASS_NAMES}"
        )
    return Part(name, pixels, count, labels)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise _absent(path)
    return path.read_bytes()


def _absent(path: Path) -> ColorganError:
    return ColorganError(
        f"{path} does not exist; run the stage download again with this part of STL-10"
    )
