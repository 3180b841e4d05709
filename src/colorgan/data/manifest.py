"""manifest.json of data/raw/<space>: which source it came from, and what every file should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from colorgan import io
from colorgan.errors import ColorganError

MANIFEST = "manifest.json"


def write_manifest(folder: Path, source: str) -> int:
    """Write the source and the SHA-256 of every file in `folder`; return the number of files.

    It holds no times, so that the same photos are the same folder.
    """
    checksums = {
        path.relative_to(folder).as_posix(): io.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    io.write_json(folder / MANIFEST, {"source": source, "files": checksums})
    return len(checksums)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read manifest.json of a raw folder.

    Raises:
        ColorganError: the stage did not run yet, or the file is damaged.
    """
    path = folder / MANIFEST
    space = folder.name
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        manifest["source"], manifest["files"]
    except FileNotFoundError:
        raise ColorganError(
            f"{path} does not exist: run `dvc repro download@{space}` "
            f"(or `python -m colorgan download {space}`) first"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ColorganError(
            f"{path} is damaged ({error}): run `dvc repro -f download@{space}` to fetch it again"
        ) from None
    return manifest
