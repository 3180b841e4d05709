"""Find photos in a folder by one rule, and batch them: for colouring and for training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from stat import S_ISDIR, S_ISREG
from typing import Literal, TypeVar

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo", ".png", ".apng", ".tif", ".tiff", ".webp",
    ".bmp", ".dib", ".gif", ".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".j2c",
    ".jpc", ".jpf", ".jpx", ".pgm", ".ppm", ".pnm", ".pbm", ".pfm",
)  # fmt: skip
SYSTEM_FOLDERS = frozenset(
    {"__macosx", "system volume information", "recycler", "recycled", "#recycle", "#snapshot",
     "~snapshot", "lost+found", "network trash folder", "temporary items"}
)  # fmt: skip
"""Folders of network drives and operating systems: their pictures are thumbnails or deleted."""
SYSTEM_PREFIXES = ("@", "$")
"""First characters of further ones, such as @eaDir, @Recycle and $RECYCLE.BIN."""

Kind = Literal["photo", "left out", "unreadable"]
"""`left out`: not meant to be used; `unreadable`: may be or hold photos."""
T = TypeVar("T")


@dataclass(frozen=True)
class FoundFile:
    """A file of a searched folder, or a folder in it whose content is left out."""

    path: Path  # below the searched folder; it identifies the file: a link is a photo of its own
    kind: Kind = "photo"
    reason: str = ""  # why it is no photo, as "what: which"


def find_files(
    root: Path,
    suffixes: Sequence[str] = SUFFIXES,
    wanted: Callable[[Path, bool], bool] = lambda *_: True,
) -> Iterator[FoundFile]:
    """Yield every file below a folder in the order of the paths; links to folders are followed.

    A hidden folder, and one of a system, is yielded itself, not its files. The name of `root` does
    not matter. `wanted` says of a path, and whether it is a folder, if it is looked at.
    """
    waiting = [(root, frozenset(_identity(folder.stat()) for folder in root.resolve().parents))]
    while waiting:
        path, above = waiting.pop()
        is_folder = False
        try:
            about = path.stat()
            is_folder = S_ISDIR(about.st_mode)
            if not wanted(path, is_folder):
                continue
            if path != root and (reason := why_left_out(path, is_folder, suffixes)):
                yield FoundFile(path, "left out", reason)
            elif S_ISREG(about.st_mode):
                yield FoundFile(path)
            elif not is_folder:  # opening a pipe would wait for ever
                yield FoundFile(path, "unreadable", "unreadable: not a regular file")
            elif _identity(about) in above:
                yield FoundFile(path, "left out", f"a link to a folder above it: {path.name}")
            else:
                children = sorted(path.iterdir(), reverse=True)
                waiting += [(child, above | {_identity(about)}) for child in children]
        except OSError as error:
            if path != root and path.name.startswith("."):
                yield FoundFile(path, "left out", "a hidden file")
            elif wanted(path, is_folder):
                # Path.is_symlink raises an error for a path that is too long.
                is_link = os.path.islink(path)  # noqa: PTH114
                reason = "a broken link" if is_link else error.strerror or str(error)
                yield FoundFile(path, "unreadable", f"unreadable: {reason}")


def batched(
    photos: Iterable[T], most: int, most_together: int, size_of: Callable[[T], int]
) -> Iterator[list[T]]:
    """Yield lists of 1 to `most` photos, whose sizes sum to at most `most_together`."""
    batch: list[T] = []
    together = 0
    for photo in photos:
        size = size_of(photo)
        if batch and (len(batch) == most or together + size > most_together):
            yield batch
            batch, together = [], 0
        batch.append(photo)
        together += size
    if batch:
        yield batch


def why_left_out(path: PurePath, is_folder: bool, suffixes: Sequence[str]) -> str:
    """Return why a file or a folder is left out, or an empty string."""
    name, suffix = path.name, path.suffix.lower()
    if name.startswith("."):  # macOS leaves `._x.jpg` beside `x.jpg`
        return f"a hidden folder: {name}" if is_folder else "a hidden file"
    if is_folder:
        is_system = name.lower() in SYSTEM_FOLDERS or name.startswith(SYSTEM_PREFIXES)
        return f"a folder of the system: {name}" if is_system else ""
    return "" if suffix in suffixes else f"suffix not read: {suffix or 'none'}"


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino
