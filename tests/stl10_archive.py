"""A small archive in STL-10's format."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

import numpy as np

from colorgan.color import UInt8Array

CLASSES = ("airplane", "bird", "race car")


def stl10_files(photos: UInt8Array, counts: Mapping[str, int]) -> dict[str, bytes]:
    """Return the files of photos `(n, 96, 96, 3)`, so many of each part, column by column."""
    files = {"class_names.txt": "\n".join((*CLASSES, "")).encode(), "fold_indices.txt": b"0 1\n"}
    columns = np.split(photos.transpose(0, 3, 2, 1), np.cumsum(list(counts.values()))[:-1])
    for (part, n), pixels in zip(counts.items(), columns, strict=True):
        files[f"{part}_X.bin"] = pixels.tobytes()
        if part != "unlabeled":
            files[f"{part}_y.bin"] = bytes(i % len(CLASSES) + 1 for i in range(n))
    return files


def packed(files: Mapping[str, bytes], folder: str = "stl10_binary") -> bytes:
    """Return a .tar.gz of the files in a folder."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()
