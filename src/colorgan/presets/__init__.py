"""Named sets of parameter values.

A preset is a YAML file beside this one with the values that differ from `default.yaml`, which is
params.yaml as the project ships it, letter for letter. Its first line says what it is for.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from colorgan import files, paths
from colorgan.errors import ColorganError, ParamsError
from colorgan.params_file import check_params, read_yaml

DEFAULT = "default"


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


def as_options(name: str) -> str:
    """Return the preset as options for `dvc exp run`: `-S train.epochs=2 -S ...`."""
    return " ".join(f"-S {path}={_shown(value)}" for path, value in _values(name))


def write(name: str, params: Path = paths.PARAMS) -> None:
    """Put the values of a preset into params.yaml; comments and everything else stay.

    `default` restores the file as the project ships it, to the letter.
    """
    if name == DEFAULT:
        text = _text(name)
    else:
        # Checked before it is written: a preset laid over wrong values would hide them.
        round_trip = YAML()
        round_trip.preserve_quotes = True
        round_trip.width = 4096
        read_yaml(params)
        content = round_trip.load(params)
        for path, value in _values(name):
            _put(content, path.split("."), value, params)
        check_params(content, where=str(params))
        buffer = io.StringIO()
        round_trip.dump(content, buffer)
        text = buffer.getvalue()
    with files.file_aside(params) as aside:
        aside.write_text(text, encoding="utf-8")


def _values(name: str) -> list[tuple[str, Any]]:
    """Return the values of a preset by dotted path."""
    content = YAML(typ="safe", pure=True).load(_text(name))
    return list(_flat(content))


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
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _text(name: str) -> str:
    file = resources.files(__name__) / f"{name}.yaml"
    if not file.is_file():
        raise ColorganError(
            f"no preset is called {name!r}; there are {', '.join(sorted(descriptions()))}"
        )
    return file.read_text(encoding="utf-8")
