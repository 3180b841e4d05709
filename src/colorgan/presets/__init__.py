"""Presets: named sets of parameter values.

A preset is a YAML file in this folder with the values that differ from `default.yaml`; its first
line says what it is for. `default.yaml` is params.yaml as the project ships it, byte for byte.
`photos` is for your own photos and needs the path to them.
"""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from colorgan import io, paths
from colorgan.config import SPACES, check_params, read_yaml
from colorgan.errors import ColorganError, ParamsError

FOLDER = Path(__file__).parent
PARQUET = ".parquet"
# As in data/sources, which presets do not import; a test compares them.
PICTURES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp"}


def descriptions() -> dict[str, str]:
    """Return what each preset is for, by its name."""
    return {
        file.stem: file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for file in sorted(FOLDER.glob("*.yaml"))
    }


def as_options(name: str, path: Path | None = None) -> str:
    """Return the preset as options for `dvc exp run $(...)`: `-S train.epochs=2 -S ...`.

    Raises:
        ColorganError: as `write`; or the shell would change the path.
    """
    values = _values(name, path)
    # In $(...) the shell splits at spaces and expands patterns, and DVC expands ${.
    if path is not None and (found := re.search(r"[\s*?\[]|\$\{", _absolute(path))):
        raise ColorganError(
            f"{_absolute(path)} has {found.group()!r} in it, which the shell would not hand on to "
            f"DVC as it is: use `python -m colorgan preset {name} --path ... --write`, "
            "then `dvc exp run`"
        )
    return " ".join(f"-S {key}={_quoted(value)}" for key, value in values.items())


def content(name: str) -> dict[str, Any]:
    """Return params.yaml as the project ships it with the values of a preset."""
    whole = read_yaml(FOLDER / "default.yaml")
    _put(whole, _values(name, None), paths.PARAMS)
    return whole


def write(name: str, path: Path | None = None, params: Path = paths.PARAMS) -> None:
    """Write the values of a preset into params.yaml; comments and other values stay.

    `default` restores the whole file.

    Raises:
        ColorganError: there is no such preset or path, or params.yaml is wrong.
    """
    values = _values(name, path)
    if name == "default":
        text = (FOLDER / "default.yaml").read_text(encoding="utf-8")
    else:
        read_yaml(params)  # refuses a file that is not YAML
        round_trip = YAML()
        round_trip.preserve_quotes = True
        round_trip.width = 4096
        whole = round_trip.load(params)
        _put(whole, values, params)
        check_params(whole, where=str(params))
        buffer = StringIO()
        round_trip.dump(whole, buffer)
        text = buffer.getvalue()
    with io.file_aside(params) as aside:
        aside.write_text(text, encoding="utf-8")


def _values(name: str, path: Path | None) -> dict[str, Any]:
    """Return the values of a preset by dotted name."""
    if name not in descriptions():
        raise ColorganError(f"no preset is called {name!r}; there are {', '.join(descriptions())}")
    values = _flat(read_yaml(FOLDER / f"{name}.yaml"))
    if name != "photos":
        if path is not None:
            raise ColorganError(
                f"the preset {name} takes no --path; `preset photos --path PATH` is for photos of "
                "your own"
            )
        return values
    if path is None:
        raise ColorganError(
            f"the preset {name} needs the photos: `preset {name} --path PATH`, with a "
            ".parquet file, a folder of them, or a folder of pictures"
        )
    source = {"source": _source_of(path), "path": _absolute(path)}
    return _flat(dict.fromkeys(SPACES, source)) | values


def _source_of(path: Path) -> str:
    """Return the source that reads a path: `parquet` or `folder`."""
    if path.is_dir():
        suffixes = {Path(name).suffix.lower() for _, _, names in os.walk(path) for name in names}
        return "parquet" if PARQUET in suffixes and not suffixes & PICTURES else "folder"
    if path.is_file() and path.suffix.lower() == PARQUET:
        return "parquet"
    what = "is a file, but no .parquet file" if path.exists() else "does not exist"
    raise ColorganError(
        f"{_absolute(path)} {what}: --path should be a .parquet file, a folder of them, or a "
        "folder of pictures"
    )


def _absolute(path: Path) -> str:
    """Return an absolute path, which is right in DVC's copies of the project too."""
    # Links are kept, unless `..` has to be resolved through them.
    return str(path.resolve() if ".." in path.parts else path.absolute())


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            values |= _flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def _put(content: Any, values: dict[str, Any], params: Path) -> None:
    """Set values by dotted name; ParamsError if params.yaml lacks a section."""
    for name, value in values.items():
        *sections, key = name.split(".")
        section = content
        for depth, part in enumerate(sections, start=1):
            section = section.get(part)
            if not isinstance(section, dict):
                raise ParamsError(
                    f"{params} lacks the section {'.'.join(sections[:depth])}: "
                    "`python -m colorgan preset default --write` restores the file"
                )
        section[key] = value


def _quoted(value: object) -> str:
    """Return a value as DVC's `-S` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if not isinstance(value, str) or re.fullmatch(r"[A-Za-z0-9/._+-]+", text):
        return text
    # Backslashes are doubled only before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), text)
    return f"'{escaped}'"
