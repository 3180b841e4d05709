"""Where photos come from: a module a source, and this list of them.

A source does two things: `fetch` puts its files into `data/raw/<space>`, and `open` gives the
photos in there. Nothing else knows how a source keeps its photos. Slow libraries (torchvision,
kagglehub) are imported inside `fetch`: every process that converts photos imports this package.
"""

from __future__ import annotations

from colorgan.data.sources.base import PhotoSet, RawPhoto, Source
from colorgan.data.sources.folder import FolderSource
from colorgan.data.sources.kaggle import KaggleSource
from colorgan.data.sources.parquet import ParquetSource
from colorgan.data.sources.sample import SampleSource
from colorgan.data.sources.stl10 import Stl10Source
from colorgan.errors import ColorganError

__all__ = ["MANIFEST", "SOURCES", "PhotoSet", "RawPhoto", "Source", "get_source"]

MANIFEST = "manifest.json"
"""Lists the files of a raw folder and names their source."""

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
