"""STL-10: 113,000 photos of 96x96 pixels, https://cs.stanford.edu/~acoates/stl10/.

Fetched from the address and checked by the checksum that torchvision carries, but read photo by
photo: torchvision's class loads a part whole, 2.7 GB for the photos without a label.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from os import environ
from pathlib import Path

import numpy as np
from PIL import Image

from colorgan.config import DataParams
from colorgan.data.decode import DecodedPhoto, PhotoList, RawPhoto
from colorgan.errors import ColorganError

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


def _decode(content: bytes, side: int) -> DecodedPhoto:  # noqa: ARG001 - there is nothing smaller
    """Turn 3 colours x 96 columns x 96 rows, a byte each, into a picture."""
    columns = np.frombuffer(content, np.uint8).reshape(3, SIDE, SIDE)
    rows = np.ascontiguousarray(columns.transpose(2, 1, 0))
    return DecodedPhoto(Image.fromarray(rows), "srgb", (SIDE, SIDE))


def fetch(data: DataParams, folder: Path) -> None:  # noqa: ARG001
    """Unpack the photos into `stl10_binary/`, downloading the archive unless it is there.

    COLORGAN_STL10_URL names another address, or a local archive or its unpacked folder;
    COLORGAN_STL10_MD5 is the checksum of another archive. torchvision's class can read the raw
    folder as its `root`.
    """
    names = [CLASS_NAMES, *(name for files in FILES.values() for name in files)]
    # Slow to import, and of torchvision only the address and the checksum are needed.
    from torchvision.datasets import STL10

    from colorgan.data.sources.fetching import cache_folder, extract_members, fetch_file, local

    url = environ.get("COLORGAN_STL10_URL") or STL10.url
    archive = local(url)
    if archive is None:
        md5 = (environ.get("COLORGAN_STL10_MD5") or STL10.tgz_md5).lower()
        # A folder for each checksum: the archives of two mirrors do not replace each other.
        archive = fetch_file(url, cache_folder() / "stl10" / md5 / STL10.filename, md5)
    if archive.is_dir():
        home = archive / FOLDER if (archive / FOLDER).is_dir() else archive
        (folder / FOLDER).mkdir()
        for name in names:
            shutil.copyfile(home / name, folder / FOLDER / name)
    else:
        extract_members(archive, [f"{FOLDER}/{name}" for name in names], folder)


def open_photos(data: DataParams, folder: Path) -> PhotoList:  # noqa: ARG001
    """Check the sizes of the files and all labels; pixels are not read."""
    home = folder / FOLDER
    classes = (home / CLASS_NAMES).read_text("ascii", "replace").splitlines()

    def read(part: str, i: int, label: str) -> RawPhoto:
        offset = i * PHOTO_BYTES
        content = np.fromfile(home / FILES[part][0], np.uint8, PHOTO_BYTES, offset=offset)
        split = "test" if part == "test" else None
        return RawPhoto(content.tobytes(), f"{part}/{i:05d}", label, split, decoder=_decode)

    labels = [(part, _read_labels(home, part, classes)) for part in FILES]
    return PhotoList(read, [(part, i, x) for part, own in labels for i, x in enumerate(own)])


def _read_labels(home: Path, name: str, classes: Sequence[str]) -> list[str]:
    pixels, *label_files = (home / file for file in FILES[name])
    size = pixels.stat().st_size
    count, rest = divmod(size, PHOTO_BYTES)
    if rest or not count:
        raise ColorganError(
            f"{pixels} has {size} bytes; it should have a positive multiple of {PHOTO_BYTES}, so "
            "it is truncated or another file"
        )
    if not label_files:
        return [""] * count
    numbers = label_files[0].read_bytes()
    if len(numbers) != count or not set(numbers) <= set(range(1, len(classes) + 1)):
        raise ColorganError(
            f"{label_files[0]} should hold {count} bytes, one for each photo beside it, from 1 to "
            f"{len(classes)}, for there are so many classes in {CLASS_NAMES}"
        )
    return [classes[number - 1] for number in numbers]
