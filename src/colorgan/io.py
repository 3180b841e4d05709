"""Files and folders that are either whole or not there: written aside, then renamed."""

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
    aside = path.with_name(f".{_shortened(path.name)}.{os.getpid()}.part")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _shortened(name: str) -> str:
    """Return a name that has room for more: systems end it at 255 bytes."""
    content = os.fsencode(name)
    return name if len(content) < 200 else hashlib.sha256(content).hexdigest()


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """Yield a new empty folder beside `path`; put it in place of `path` if the block succeeds.

    A folder cannot be replaced in one step, so the old one is renamed away first: at no moment
    does the final name stand for a half-written folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    # mkdtemp makes the folder for its owner alone; a result is as readable as any other file.
    aside.chmod(0o777 & ~_umask())
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
    """Remove what a kill has left of writing `folder / name` aside; `name` may be a pattern.

    Only who alone writes there may call this.
    """
    for path in (*folder.glob(f".{name}.*.part"), *folder.glob(f".{name}.*.old")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk itself, where the system can."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline, aside and then renamed."""
    with file_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
