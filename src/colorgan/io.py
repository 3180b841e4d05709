"""Read YAML; write files and folders that are complete or absent: aside first, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from colorgan.errors import ParamsError


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
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    old = aside.with_suffix(".old")
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed process that had this pid
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
    aside.mkdir()
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


def remove_asides(folder: Path, name: str = "*", pid: int | str = "*") -> None:
    """Remove what a killed process left of writing `folder / name`; both may be patterns.

    Call this only if no other process writes there.
    """
    for path in (*folder.glob(f".{name}.{pid}.part"), *folder.glob(f".{name}.{pid}.old")):
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


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of parameters that holds a mapping; ParamsError if it does not.

    By the rules of YAML 1.2, because DVC writes `-S train.lr=0.00002` as `2e-05`, which is a string
    in YAML 1.1.
    """
    yaml = YAML(typ="safe", pure=True)
    # No merge keys (`<<`): YAML 1.2 has none, and a few of them can multiply to billions of values.
    yaml.constructor.flatten_mapping = lambda _: None
    try:
        content = yaml.load(path.read_bytes())
    except FileNotFoundError:
        raise ParamsError(
            f"{path} does not exist in {Path.cwd()}: run this in the project's folder, "
            "the one with params.yaml and dvc.yaml"
        ) from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ParamsError(f"{path} is nested too deeply; it should be sections of values") from None
    except (YAMLError, ValueError, TypeError) as error:  # ValueError: such as the 31st of February
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        # Of a duplicate key ruamel.yaml goes on with both values.
        problem = str(getattr(error, "problem", error)).partition(" with value")[0]
        raise ParamsError(f"{path} is not valid YAML: {where}{' '.join(problem.split())}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path} should be a mapping of sections, such as `train:`")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline."""
    with file_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
