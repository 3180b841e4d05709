"""STL-10: 113,000 photos of 96x96 pixels, https://cs.stanford.edu/~acoates/stl10/.

Fetched from the address and checked by the checksums that torchvision carries, but read through
memory maps: torchvision's class loads a part whole, 2.7 GB for the photos without a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path

import numpy as np
from PIL import Image

from colorgan.config import DataParams
from colorgan.data.fetching import cache_folder, digest, extract_members, fetch_file
from colorgan.data.sources.base import Pixels, content_id
from colorgan.errors import ColorganError, ParamsError

SIDE = 96
PHOTO_BYTES = 3 * SIDE * SIDE
FOLDER = "stl10_binary"
CLASS_NAMES = "class_names.txt"
PARTS = ("train", "test", "unlabeled")
LABELLED = ("train", "test")
WINDOW = 256
"""Photos mapped at a time: pages of a map count as memory of the process until it is closed."""


@dataclass(frozen=True)
class Stl10Photo:
    """A photo as the file has it: 3 colours x 96 columns x 96 rows, one byte each."""

    content: bytes
    name: str
    label: str
    split: str | None

    @property
    def id(self) -> str:
        """A hash of the bytes."""
        return content_id(self.content)

    def decode(self, side: int) -> Pixels:
        """Return the pixels, whatever `side` is: there is nothing smaller to decode to."""
        columns = np.frombuffer(self.content, np.uint8).reshape(3, SIDE, SIDE)
        rows = np.ascontiguousarray(columns.transpose(2, 1, 0))
        return Pixels(Image.fromarray(rows), "srgb", (SIDE, SIDE))


@dataclass(frozen=True)
class _Part:
    """A part of STL-10: its name, its file of pixels, how many photos, and a byte of label each."""

    name: str
    path: Path
    count: int
    labels: bytes


@dataclass(frozen=True)
class Stl10Photos:
    """The photos of the chosen parts, one part after the other, in the order of the files.

    It holds paths and labels (a byte a photo), never pixels, so pickling it costs little.
    """

    parts: tuple[_Part, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return sum(part.count for part in self.parts)

    def read(self, rows: Sequence[int]) -> Iterator[Stl10Photo]:
        """Copy the photos out of a memory map that moves along the file."""
        first, parts = 0, iter(self.parts)
        part = next(parts)
        start, window = -1, _map(part, 0)
        for row in rows:
            while row >= first + part.count:
                first, part, start = first + part.count, next(parts), -1
            index = row - first
            if index // WINDOW * WINDOW != start:
                start = index // WINDOW * WINDOW
                window = _map(part, start)
            yield self._photo(part, index, window[index - start].tobytes())

    def _photo(self, part: _Part, index: int, content: bytes) -> Stl10Photo:
        label = self.classes[part.labels[index] - 1] if part.labels else ""
        split = "test" if part.name == "test" else None
        return Stl10Photo(content, f"{part.name}/{index:05d}", label, split)


def _map(part: _Part, start: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Map the photos from `start` on: `(at most WINDOW, 27648)` uint8, nothing read yet."""
    count = min(WINDOW, part.count - start)
    return np.memmap(part.path, np.uint8, "r", start * PHOTO_BYTES, (count, PHOTO_BYTES))


class Stl10Source:
    """The files of STL-10, as its archive has them, in `stl10_binary/`.

    torchvision's class can read the raw folder as its `root`, if all parts are chosen. For mirrors,
    COLORGAN_STL10_URL names another address and COLORGAN_STL10_MD5 its archive's checksum.
    """

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Download the archive into the user's cache and unpack the chosen parts.

        Raises:
            ParamsError: no part is chosen.
            ColorganError: the archive cannot be fetched, or is not what it should be.
        """
        names = [name for part in _chosen(data) for name in _files_of(part)]
        # Slow to import, and only its addresses and checksums are needed.
        from torchvision.datasets import STL10

        url = environ.get("COLORGAN_STL10_URL") or STL10.url
        md5 = (environ.get("COLORGAN_STL10_MD5") or STL10.tgz_md5).lower()
        # A folder for each checksum: the archives of two mirrors do not replace each other.
        archive = cache_folder() / "stl10" / md5 / STL10.filename
        fetch_file(url, archive, md5=md5)
        members = [f"{FOLDER}/{name}" for name in (*names, CLASS_NAMES)]
        extract_members(archive, members, folder)
        another = environ.get("COLORGAN_STL10_URL") and environ.get("COLORGAN_STL10_MD5")
        if not another:
            sums = {name: str(md5) for name, md5 in (*STL10.train_list, *STL10.test_list)}
            _check({folder / FOLDER / name: sums[name] for name in names})

    def open(self, data: DataParams, folder: Path) -> Stl10Photos:
        """Check the sizes of the files and all labels; pixels are not read."""
        home = folder / FOLDER
        classes = _classes(home / CLASS_NAMES)
        parts = tuple(_open_part(home, part, len(classes)) for part in _chosen(data))
        return Stl10Photos(parts, classes)


def _chosen(data: DataParams) -> list[str]:
    chosen = [part for part in PARTS if getattr(data.stl10, part)]
    if not chosen:
        raise ParamsError(
            "stl10.train, stl10.test and stl10.unlabeled are all false; at least one should be true"
        )
    return chosen


def _files_of(part: str) -> list[str]:
    """Return the names of a part's files: pixels, and labels where it has them."""
    return [f"{part}_X.bin", f"{part}_y.bin"] if part in LABELLED else [f"{part}_X.bin"]


def _check(sums: dict[Path, str]) -> None:
    for path, right in sums.items():
        found = digest(path, "md5")
        if found != right:
            raise ColorganError(
                f"{path.name} of the STL-10 archive has the md5 {found} and should have {right}; "
                "use the archive that torchvision names, or set COLORGAN_STL10_URL and "
                "COLORGAN_STL10_MD5 to one that you trust"
            )


def _classes(path: Path) -> tuple[str, ...]:
    """Read the class names, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise _absent(path) from None
    except UnicodeDecodeError as error:
        raise ColorganError(
            f"{path} is not text ({error}); it should have a class a line"
        ) from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ColorganError(f"{path} is empty; it should have a class a line")
    return names


def _open_part(home: Path, part: str, classes: int) -> _Part:
    pixels, *labels = (home / name for name in _files_of(part))
    try:
        size = pixels.stat().st_size
    except FileNotFoundError:
        raise _absent(pixels) from None
    count, rest = divmod(size, PHOTO_BYTES)
    if rest or not count:
        raise ColorganError(
            f"{pixels} has {size} bytes; it should have a positive multiple of {PHOTO_BYTES}, "
            "so it is truncated or another file"
        )
    return _Part(part, pixels, count, _labels(labels[0], count, classes) if labels else b"")


def _labels(path: Path, count: int, classes: int) -> bytes:
    """Read the labels of `count` photos, a byte each: 1 is the first class."""
    try:
        labels = path.read_bytes()
    except FileNotFoundError:
        raise _absent(path) from None
    if len(labels) != count:
        raise ColorganError(
            f"{path} has {len(labels)} labels; it should have {count}, one for each photo beside it"
        )
    wrong = [label for label in (min(labels), max(labels)) if not 1 <= label <= classes]
    if wrong:
        raise ColorganError(
            f"{path} has a label {wrong[0]}; there are {classes} classes, so 1 to {classes}"
        )
    return labels


def _absent(path: Path) -> ColorganError:
    return ColorganError(
        f"{path} does not exist; run the stage download again with this part of STL-10"
    )
