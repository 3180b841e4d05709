"""What a source of photos is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from colorgan.params import DataParams


class UnreadablePhoto(Exception):  # noqa: N818 - it is a finding about a photo, not a fault
    """A photo cannot be decoded; its text is the reason that goes into rejected.csv."""


class RawPhoto(Protocol):
    """A photo as its source keeps it, not decoded yet."""

    @property
    def id(self) -> str:
        """Identifies the photo by its content; the same bytes have the same id anywhere."""

    @property
    def name(self) -> str:
        """Where it lies in its source, for messages and rejected.csv."""

    @property
    def label(self) -> str:
        """Its class, or an empty string."""

    @property
    def split(self) -> str | None:
        """train, val or test where the source has splits of its own, else None."""

    def open(self) -> Image.Image:
        """Return the photo in sRGB; UnreadablePhoto if it cannot be decoded."""


class Source(Protocol):
    """A source of photos."""

    def fetch(self, params: DataParams, folder: Path) -> None:
        """Put the photos, or the source's own files, into an empty `folder`.

        Raises:
            ColorganError: the source cannot be reached or is not what it should be.
        """

    def photos(self, folder: Path) -> Iterator[RawPhoto]:
        """Yield the photos of a folder that `fetch` filled, in a fixed order."""


@dataclass(frozen=True)
class PhotoFile:
    """A photo that is a file of its own."""

    id: str
    name: str
    label: str
    split: str | None
    path: Path

    def open(self) -> Image.Image:
        """Decode the file to RGB; UnreadablePhoto with the decoder's reason if that fails."""
        try:
            with Image.open(self.path) as image:
                return image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnreadablePhoto(f"unreadable: {error}") from error
