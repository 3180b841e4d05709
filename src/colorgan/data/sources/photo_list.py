"""Photos that a source reads one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from colorgan.data.decode import RawPhoto


@dataclass(frozen=True)
class PhotoList:
    """Photos that are read one by one: `read_one(*place)` reads the photo at a place."""

    read_one: Callable[..., RawPhoto]
    places: Sequence[tuple[Any, ...]]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Yield the photos at `rows`."""
        return (self.read_one(*self.places[row]) for row in rows)
