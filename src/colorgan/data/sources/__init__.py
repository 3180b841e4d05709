"""Where photos come from: a module a source, and this list of them.

A source does two things: `fetch` puts its files into `data/raw/<space>`, and `open` gives the
photos in there. Nothing else knows how a source keeps its photos. Slow libraries (torchvision,
kagglehub) are imported inside `fetch`: every process that converts photos imports this package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from colorgan.config import DataParams
from colorgan.data.decode import RawPhoto
from colorgan.data.sources.folder import FolderSource
from colorgan.data.sources.kaggle import KaggleSource
from colorgan.data.sources.parquet import ParquetSource
from colorgan.data.sources.sample import SampleSource
from colorgan.data.sources.stl10 import Stl10Source
from colorgan.errors import ColorganError

MANIFEST = "manifest.json"
"""Lists the files of a raw folder and names their source."""


class PhotoSet(Protocol):
    """The photos in a raw folder, in a fixed order."""

    def __len__(self) -> int:
        """Return how many photos there are, without reading them."""

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Yield the photos at `rows`, which ascend; memory does not grow with their number."""


class Source(Protocol):
    """A source of photos."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Put the photos, or the source's own files, into an empty `folder`.

        Raises:
            ColorganError: the source cannot be reached or is not what it should be.
        """

    def open(self, data: DataParams, folder: Path) -> PhotoSet:
        """Open the photos of a folder that `fetch` filled.

        Raises:
            ColorganError: its files are not what they should be; names the file.
        """


SOURCES: dict[str, Source] = {
    "sample": SampleSource(),
    "stl10": Stl10Source(),
    "kaggle": KaggleSource(),
    "folder": FolderSource(),
    "parquet": ParquetSource(),
}


def get_source(name: str) -> Source:
    """Return the source called `name`; ColorganError for any other name."""
    if name not in SOURCES:
        raise ColorganError(f"no source is called {name!r}; there are {', '.join(SOURCES)}")
    return SOURCES[name]
