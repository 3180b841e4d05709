"""Where photos come from: one module a source, all alike to the stages.

A source does two things: `fetch` puts its files into `data/raw/<space>`, and `open` gives the
photos in there. Nothing else knows how a source keeps its photos.
"""

from __future__ import annotations

from colorgan.data.sources.base import Photo, PhotoSet, Pixels, Source
from colorgan.errors import ColorganError

__all__ = ["Photo", "PhotoSet", "Pixels", "Source", "get_source"]

SOURCES = ("sample", "stl10", "kaggle", "folder", "parquet")


def get_source(name: str) -> Source:
    """Return the source called `name`; ColorganError for any other name."""
    # Imported when asked for: each brings a library that the others do without.
    match name:
        case "sample":
            from colorgan.data.sources.sample import SampleSource

            return SampleSource()
        case "stl10":
            from colorgan.data.sources.stl10 import Stl10Source

            return Stl10Source()
        case "kaggle":
            from colorgan.data.sources.kaggle import KaggleSource

            return KaggleSource()
        case "folder":
            from colorgan.data.sources.folder import FolderSource

            return FolderSource()
        case "parquet":
            from colorgan.data.sources.parquet import ParquetSource

            return ParquetSource()
    raise ColorganError(f"no source is called {name!r}; there are {', '.join(SOURCES)}")
