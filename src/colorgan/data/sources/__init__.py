"""Data sources of photos: one module for each, and this list of them.

A source does two things: `fetch` puts its files into `data/raw/<space>`, and `open_photos` gives
the photos in there. Both raise ColorganError with the file or address that is not as it should be.
Slow libraries (torchvision, kagglehub) are imported inside `fetch`: every process that converts
photos imports this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from colorgan.config import DataParams
from colorgan.data.decode import RawPhoto
from colorgan.data.sources import folder, kaggle, parquet, sample, stl10

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """manifest.json of a raw folder: its source, and the SHA-256 of every file."""

    source: str
    files: dict[str, str]


class PhotoSet(Protocol):
    """The photos in a raw folder, in a fixed order."""

    def __len__(self) -> int:
        """Return how many photos there are, without reading them."""

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Yield the photos at `rows`, which ascend; memory does not grow with their number."""


class Source(Protocol):
    """A source of photos: a module with these two functions."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Put the photos, or the source's own files, into an empty `folder`; or ColorganError."""

    def open_photos(self, data: DataParams, folder: Path) -> PhotoSet:
        """Open the photos of a folder that `fetch` filled; ColorganError names a bad file."""


SOURCES: dict[str, Source] = {
    "sample": sample, "stl10": stl10, "kaggle": kaggle, "folder": folder, "parquet": parquet,
}  # fmt: skip
