"""What a source of photos is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from colorgan.config import DataParams


@dataclass(frozen=True)
class Pixels:
    """A decoded photo: three bytes a pixel, and what they mean.

    Attributes:
        image: mode RGB, whatever the encoding.
        encoding: `srgb`, or `lab` for the 8-bit encoding of CIE Lab (L*255/100, a+128, b+128).
        size: width and height of the photo before it was decoded to a smaller one.
    """

    image: Image.Image
    encoding: Literal["srgb", "lab"]
    size: tuple[int, int]


class Photo(Protocol):
    """A photo as its source keeps it, not decoded yet."""

    @property
    def id(self) -> str:
        """16 hex digits of a SHA-256 of its content: the same photo has the same id anywhere."""

    @property
    def name(self) -> str:
        """Where it lies in its source, for messages and rejected.csv."""

    @property
    def label(self) -> str:
        """Its class, or an empty string."""

    @property
    def split(self) -> str | None:
        """train, val or test where the source has splits of its own, else None."""

    def decode(self, side: int) -> Pixels:
        """Decode it, to no less than `side` pixels on the shorter side where it has as many.

        Raises:
            UnreadablePhoto: it cannot be decoded, or has no colour to learn from.
        """


class PhotoSet(Protocol):
    """The photos in a raw folder, in a fixed order. It is pickled to each worker process."""

    def __len__(self) -> int:
        """Return how many photos there are, without reading them."""

    def read(self, rows: Sequence[int]) -> Iterator[Photo]:
        """Yield the photos at `rows`, which ascend; memory does not grow with their number."""


class Source(Protocol):
    """A source of photos: it fetches files into a raw folder, and reads photos from there."""

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


def content_id(content: bytes) -> str:
    """Return the id of a photo with these bytes."""
    return hashlib.sha256(content).hexdigest()[:16]
