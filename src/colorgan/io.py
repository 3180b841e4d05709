"""Write files and folders so that they are complete or absent: aside first, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside `path`; rename it to `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if len(os.fsencode(name)) >= 200:  # file systems allow 255 bytes, prefix and suffix included
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    aside = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield a new empty folder beside `path`; put it in place of `path` if the block succeeds.

    A folder cannot be replaced in one step, so the old one is renamed first: an incomplete folder
    never has the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    # mkdtemp allows its owner alone; a result should be as readable as any other folder.
    mask = os.umask(0)
    os.umask(mask)
    aside.chmod(0o777 & ~mask)
    old = aside.with_suffix(".old")
    try:
        yield aside
        if path.exists():
            path.replace(old)
        aside.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_asides(folder: Path, name: str = "*") -> None:
    """Remove what a killed process left of writing `folder / name`; `name` may be a pattern.

    Call this only if no other process writes there.
    """
    for path in (*folder.glob(f".{name}.*.part"), *folder.glob(f".{name}.*.old")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk (fsync)."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline."""
    with file_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
