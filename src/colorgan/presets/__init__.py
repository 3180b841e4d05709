"""Named sets of parameter values.

A preset is a YAML file beside this one with the values that differ from `default.yaml`, which is
params.yaml as the project ships it, letter for letter. Its first line says what it is for.

`photos` is for photos of your own, and takes the path to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from colorgan import io, paths
from colorgan.config import SPACES, check_params, read_yaml
from colorgan.errors import ColorganError, ParamsError

DEFAULT = "default"
OF_A_PATH = "photos"
"""The preset that takes a path."""
PARQUET = ".parquet"
PICTURES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp"}
)  # fmt: skip
"""Suffixes as the sources take them; a test holds them together, for presets stand below data."""
PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")
"""What DVC's `-S` takes for a value without quotes, as it stands."""
NOT_AS_A_WORD = re.compile(r"[\s*?\[]|\$\{")
"""What no quotes help: `$(...)` splits at white space and expands patterns, DVC expands `${`."""


def descriptions() -> dict[str, str]:
    """Return the presets by name, with what each is for."""
    return {
        name: _text(name).splitlines()[0].lstrip("# ")
        for name in sorted(
            file.name.removesuffix(".yaml")
            for file in resources.files(__name__).iterdir()
            if file.name.endswith(".yaml")
        )
    }


def as_options(name: str, path: Path | None = None) -> str:
    """Return the preset as options for `dvc exp run`: `-S train.epochs=2 -S ...`.

    Made for `$(...)`, where the shell leaves quotes alone and DVC takes them off.

    Raises:
        ColorganError: as `write` does; or the path cannot be a word of `$(...)`.
    """
    values = _values(name, path)
    if path is not None and (found := NOT_AS_A_WORD.search(_absolute(path))):
        raise ColorganError(
            f"{_absolute(path)} has {found.group()!r} in it, which the shell would not hand on to "
            f"DVC as it is: use `python -m colorgan preset {name} --path ... --write`, "
            "then `dvc exp run`"
        )
    return " ".join(f"-S {key}={_shown(value)}" for key, value in values)


def content(name: str) -> dict[str, Any]:
    """Return what params.yaml says with a preset laid over the values the project ships with.

    Raises:
        ColorganError: there is no such preset, or it takes a path.
    """
    whole: dict[str, Any] = YAML(typ="safe", pure=True).load(_text(DEFAULT))
    for key, value in _values(name, None):
        _put(whole, key.split("."), value, paths.PARAMS)
    return whole


def write(name: str, path: Path | None = None, params: Path = paths.PARAMS) -> None:
    """Put the values of a preset into params.yaml; comments and everything else stay.

    `default` restores the file as the project ships it, to the letter. `photos` needs the `path`
    of the photos, the other presets take none.

    Raises:
        ColorganError: there is no such preset or path, or params.yaml is wrong.
    """
    values = _values(name, path)
    if name == DEFAULT:
        text = _text(name)
    else:
        # Checked before it is written: a preset laid over wrong values would hide them.
        round_trip = YAML()
        round_trip.preserve_quotes = True
        round_trip.width = 4096
        read_yaml(params)
        content = round_trip.load(params)
        for key, value in values:
            _put(content, key.split("."), value, params)
        check_params(content, where=str(params))
        buffer = StringIO()
        round_trip.dump(content, buffer)
        text = buffer.getvalue()
    with io.file_aside(params) as aside:
        aside.write_text(text, encoding="utf-8")


def _values(name: str, path: Path | None) -> list[tuple[str, Any]]:
    """Return the values of a preset by dotted path, with those that follow from `path`."""
    content = YAML(typ="safe", pure=True).load(_text(name))
    if name != OF_A_PATH:
        if path is not None:
            raise ColorganError(
                f"the preset {name} takes no --path; `preset {OF_A_PATH} --path PATH` is for "
                "photos of your own"
            )
        return list(_flat(content))
    if path is None:
        raise ColorganError(
            f"the preset {name} needs the photos: `preset {name} --path PATH`, with a "
            ".parquet file, a folder of them, or a folder of pictures"
        )
    source = _source_of(path)
    own = [(f"{space}.{key}", value) for space in SPACES
           for key, value in (("source", source), ("path", _absolute(path)))]  # fmt: skip
    return own + list(_flat(content))


def _source_of(path: Path) -> str:
    """Return the source that reads a path: `parquet` or `folder`."""
    if not path.exists():
        raise ColorganError(
            f"{_absolute(path)} does not exist: --path should be a .parquet file, a folder of "
            "them, or a folder of pictures"
        )
    if path.is_dir():
        suffixes = {Path(name).suffix.lower() for _, _, names in os.walk(path) for name in names}
        return "parquet" if PARQUET in suffixes and not suffixes & PICTURES else "folder"
    if path.suffix.lower() == PARQUET:
        return "parquet"
    raise ColorganError(
        f"{_absolute(path)} is a file, but no .parquet file: --path should be a .parquet file, a "
        "folder of them, or a folder of pictures"
    )


def _absolute(path: Path) -> str:
    """Return a path that means the same in DVC's copy of the project under --temp and --queue."""
    # A link keeps its name, unless `..` has to be walked back over it.
    return str(path.resolve() if ".." in path.parts else path.absolute())


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _put(content: Any, keys: list[str], value: Any, params: Path) -> None:
    for depth, key in enumerate(keys[:-1], start=1):
        if not isinstance(content.get(key), dict):
            raise ParamsError(
                f"{params} lacks the section {'.'.join(keys[:depth])}: "
                "`python -m colorgan preset default --write` restores the file"
            )
        content = content[key]
    content[keys[-1]] = value


def _shown(value: object) -> str:
    """Return a value as DVC's `-S` reads it; a text with unusual characters goes in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if not isinstance(value, str) or PLAIN.fullmatch(text):
        return text
    # A backslash counts for itself, except before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), text)
    return f"'{escaped}'"


def _text(name: str) -> str:
    file = resources.files(__name__) / f"{name}.yaml"
    if not file.is_file():
        raise ColorganError(
            f"no preset is called {name!r}; there are {', '.join(sorted(descriptions()))}"
        )
    return file.read_text(encoding="utf-8")
