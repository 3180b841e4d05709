"""What is to be coloured, and where to: files, folders and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colorgan.errors import ColorganError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".mpo")
"""What is taken for a picture in a folder or by a pattern; a file that is named is always tried."""


@dataclass(frozen=True)
class Failure:
    """A picture, or what should have been one, that was not coloured, and why."""

    source: Path
    reason: str


@dataclass(frozen=True)
class Item:
    """A picture to be coloured.

    Attributes:
        source: its file.
        target: the file to write; its suffix may still change with the format.
        exact: whether the target was named by the user, suffix and all.
    """

    source: Path
    target: Path
    exact: bool = False


def find(inputs: Sequence[str], out: Path) -> tuple[list[Item], list[Failure]]:
    """Find the pictures of files, folders (with all below them) and glob patterns.

    A folder keeps its structure, and so does what a pattern finds. `out` is a folder, but for a
    single file it may be a file with the suffix of a picture. Where `out` lies in a folder that is
    searched, what it holds is no input.

    Returns:
        The pictures, sorted, and what is not there or holds no picture.

    Raises:
        ColorganError: `out` is a file and should be a folder.
    """
    only = Path(inputs[0]) if len(inputs) == 1 else None
    if only and only.is_file() and not out.is_dir() and out.suffix.lower() in SUFFIXES:
        return [Item(only, out, exact=True)], []
    if out.exists() and not out.is_dir():
        raise ColorganError(
            f"-o {out} is a file; for several pictures it should be a folder, for a single one a "
            f"new name with {', '.join(SUFFIXES)}"
        )
    items: dict[Path, Item] = {}
    failures = []
    for text in inputs:
        try:
            found = {item.source.resolve(): item for item in _of_input(text, out)}
            problem = "" if found else _why_nothing(text)
        except OSError as error:
            # A folder that may not be looked into, a name that is too long.
            found, problem = {}, error.strerror or str(error)
        if problem:
            failures.append(Failure(Path(text), problem))
        items = found | items
    return sorted(items.values(), key=lambda item: item.source), failures


def _of_input(text: str, out: Path) -> Iterator[Item]:
    path = Path(text)
    if path.is_dir():
        for source in _pictures(path.rglob("*"), path, out):
            yield Item(source, out / source.relative_to(path))
    elif path.exists():
        yield Item(path, out / path.name)
    elif glob.has_magic(text):
        root = _fixed_part(path)
        for source in _pictures(root.glob(str(path.relative_to(root))), root, out):
            yield Item(source, out / source.relative_to(root))


def _why_nothing(text: str) -> str:
    if Path(text).is_dir():
        return f"it holds no picture ({', '.join(SUFFIXES)})"
    if glob.has_magic(text):
        return f"nothing that it fits is a picture ({', '.join(SUFFIXES)})"
    return "it does not exist; it should be a picture, a folder, or a pattern as 'scans/**/*.tif'"


def _pictures(paths: Iterator[Path], root: Path, out: Path) -> Iterator[Path]:
    made = out.resolve()
    results_inside = root.resolve() in made.parents
    for path in paths:
        if path.suffix.lower() in SUFFIXES and path.is_file():
            if results_inside and made in path.resolve().parents:
                continue
            yield path


def _fixed_part(pattern: Path) -> Path:
    """Return the folder of a pattern that no wildcard is part of."""
    root = pattern
    while glob.has_magic(str(root)):
        root = root.parent
    return root
