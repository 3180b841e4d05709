"""Presets: named sets of parameter values.

A preset is a YAML file in this folder with the values that differ from `default.yaml`; its first
line says what it is for. `default.yaml` is params.yaml as the project ships it, byte for byte.
`photos` is for your own photos and needs the path to them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from colorgan import io, paths
from colorgan.config import SPACES, check_params, flat
from colorgan.data.photo_files import SUFFIXES
from colorgan.errors import ColorganError

FOLDER = Path(__file__).parent


def descriptions() -> dict[str, str]:
    """Return what each preset is for, by its name."""
    return {
        file.stem: file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for file in sorted(FOLDER.glob("*.yaml"))
    }


def as_options(name: str, path: Path | None = None) -> str:
    """Return the preset as options for `dvc exp run $(...)`: `-S train.epochs=2 -S ...`.

    ColorganError if there is no such preset or path, or the shell or DVC would change the path.
    """
    values = _values(name, path)
    if path is not None and not re.fullmatch(r"[\w/.+-]+", str(values["rgb.path"]), re.ASCII):
        raise ColorganError(
            f"{values['rgb.path']} has characters that the shell or DVC may change: use "
            f"`python -m colorgan preset {name} --path ... --write`, then `dvc exp run`"
        )
    return overrides(values)


def overrides(values: Mapping[str, Any]) -> str:
    """Return values by dotted name as options for `dvc exp run`."""
    # YAML's true, where Python says True.
    texts = {key: str(v).lower() if isinstance(v, bool) else v for key, v in values.items()}
    return " ".join(f"-S {key}={text}" for key, text in texts.items())


def content(name: str) -> dict[str, Any]:
    """Return params.yaml as the project ships it with the values of a preset."""
    return changed(io.read_yaml(FOLDER / "default.yaml"), _values(name, None))


def check_photos(path: Path) -> str:
    """Return the source that reads photos at a path: `parquet` or `folder`.

    ColorganError if it is neither, or if DVC, which reads all that a stage depends on, would fail
    or wait for ever at a file in it.
    """
    if path.is_dir():
        # Like DVC, without the folders that are links.
        files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        for file in files:
            _check_for_dvc(file)
        suffixes = {file.suffix.lower() for file in files}
        return "parquet" if ".parquet" in suffixes and not suffixes & {*SUFFIXES} else "folder"
    if path.is_file() and path.suffix.lower() == ".parquet":
        return "parquet"
    what = "is a file, but no .parquet file" if path.exists() else "does not exist"
    raise ColorganError(
        f"{path.absolute()} {what}: the path should be that of a .parquet file, a folder of them, "
        "or a folder of pictures"
    )


def write(name: str, path: Path | None = None) -> None:
    """Write the values of a preset into params.yaml; comments and other values stay.

    `default` restores the whole file. ColorganError if there is no such preset or path.
    """
    values = _values(name, path)
    if name == "default":
        text = (FOLDER / "default.yaml").read_text(encoding="utf-8")
    else:
        check_params(io.read_yaml(paths.PARAMS))
        round_trip = YAML()
        round_trip.preserve_quotes = True
        round_trip.width = 4096
        whole = changed(round_trip.load(paths.PARAMS), values)
        check_params(whole)
        buffer = StringIO()
        round_trip.dump(whole, buffer)
        text = buffer.getvalue()
    with io.file_aside(paths.PARAMS) as aside:
        aside.write_text(text, encoding="utf-8")


def _values(name: str, path: Path | None) -> dict[str, Any]:
    """Return the values of a preset by dotted name."""
    if name not in descriptions():
        raise ColorganError(f"no preset is called {name!r}; there are {', '.join(descriptions())}")
    values = flat(io.read_yaml(FOLDER / f"{name}.yaml"))
    if (name == "photos") != (path is not None):
        need = "needs the photos" if path is None else "takes no --path"
        raise ColorganError(
            f"the preset {name} {need}: `preset photos --path PATH`, with a .parquet file, a "
            "folder of them, or a folder of pictures, is for photos of your own"
        )
    if path is not None:
        # A link keeps its name, unless `..` has to be resolved through it.
        path = path.expanduser()
        absolute = path.resolve() if ".." in path.parts else path.absolute()
        source = {"source": check_photos(path), "path": str(absolute)}
        values = flat(dict.fromkeys(SPACES, source)) | values
    return values


def _check_for_dvc(file: Path) -> None:
    """Refuse a file at which DVC fails, or waits for ever."""
    if not file.is_file():
        what = "is a broken link" if file.is_symlink() else "is not a regular file"
    elif not os.access(file, os.R_OK):
        what = "cannot be read"
    elif file.name == ".dvcignore" or os.fsencode(file).decode(errors="replace") != str(file):
        what = "has a name that DVC does not take"
    else:
        return
    raise ColorganError(
        f"{str(file)!r} {what}: DVC reads every file of the folder to notice changes, and would "
        "stop there, so delete it or move it elsewhere"
    )


def changed(content: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a params.yaml with values set by dotted name."""
    whole = deepcopy(content)
    for name, value in values.items():
        *sections, key = name.split(".")
        section: Any = whole
        for part in sections:
            section = section[part]
        section[key] = value
    return whole
