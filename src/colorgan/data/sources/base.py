"""What a source of photos is, and a photo that is not decoded yet."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from colorgan.config import DataParams
from colorgan.data.decode import DecodedPhoto, UnreadablePhoto, decode


@dataclass(frozen=True)
class RawPhoto:
    """A photo as its source keeps it, not decoded yet.

    Attributes:
        content: its bytes; empty where the source could not get them.
        name: where it lies in its source, for messages and rejected.csv.
        label: its class, or an empty string.
        split: train, val or test where the source has splits of its own, else None.
        problem: why it cannot be used, where the source knows that already; else empty.
        decoder: makes pixels of the bytes; that of picture files unless the source has another.
    """

    content: bytes
    name: str
    label: str = ""
    split: str | None = None
    problem: str = ""
    decoder: Callable[[bytes, int], DecodedPhoto] = decode

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of its bytes: the same photo has the same id anywhere.

        Of its name where there are no bytes, so that such photos are no duplicates.
        """
        content = self.content or self.name.encode("utf-8", "surrogateescape")
        return hashlib.sha256(content).hexdigest()[:16]

    def decode(self, side: int) -> DecodedPhoto:
        """Decode it, to no less than `side` pixels on the shorter side where it has as many.

        Raises:
            UnreadablePhoto: it cannot be decoded, or has no colour to learn from.
        """
        if self.problem:
            raise UnreadablePhoto(self.problem)
        return self.decoder(self.content, side)


class PhotoSet(Protocol):
    """The photos in a raw folder, in a fixed order."""

    def __len__(self) -> int:
        """Return how many photos there are, without reading them."""

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Yield the photos at `rows`, which ascend; memory does not grow with their number."""


def between(rows: Sequence[int], start: int, end: int) -> Sequence[int]:
    """Return those of the ascending `rows` from `start` up to, but not including, `end`."""
    return rows[bisect_left(rows, start) : bisect_left(rows, end)]


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
