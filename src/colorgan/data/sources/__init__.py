"""Where photos come from: one module a source, all alike to the stages.

A source does two things: `fetch` puts its files into `data/raw/<space>`, and `photos` reads them
from there. Nothing else knows how a source keeps its photos.
"""

from __future__ import annotations

from colorgan.data.sources.base import RawPhoto, Source, UnreadablePhoto
from colorgan.data.sources.sample import SampleSource
from colorgan.errors import ColorganError

__all__ = ["RawPhoto", "Source", "UnreadablePhoto", "get_source"]


def get_source(name: str) -> Source:
    """Return the source called `name`; ColorganError for any other name."""
    sources: dict[str, Source] = {"sample": SampleSource()}
    if name not in sources:
        raise ColorganError(f"no source is called {name!r}; there are {', '.join(sources)}")
    return sources[name]
