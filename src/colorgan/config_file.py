"""Reading and checking params.yaml, with one sentence for each thing that is wrong in it.

The file is read by YAML 1.2 rules (`colorgan.yaml12`), because DVC writes `-S train.lr=0.00002` as
`2e-05`, which YAML 1.1 takes for a string.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from colorgan import paths, yaml12
from colorgan.config import (
    SPACES,
    DataParams,
    EvaluateParams,
    LoggingParams,
    ModelParams,
    Params,
    RenderParams,
    RuntimeParams,
    Section,
    SpaceParams,
    TrainParams,
)
from colorgan.errors import ParamsError

SHARED: dict[str, type[Section]] = {
    "model": ModelParams,
    "train": TrainParams,
    "logging": LoggingParams,
    "evaluate": EvaluateParams,
    "render": RenderParams,
    "runtime": RuntimeParams,
}


def load_params(path: Path = paths.PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing or no YAML, or a parameter is unknown, missing, mistyped
            or out of range; a line for each, with its path, value and what is allowed.
    """
    return check_params(read_yaml(path), where=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping; ParamsError if there is none."""
    try:
        content = yaml12.parse(path.read_bytes())
    except FileNotFoundError:
        raise ParamsError(
            f"{path} does not exist in {Path.cwd()}: run this in the project's folder, "
            "the one with params.yaml and dvc.yaml"
        ) from None
    except yaml12.YamlError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    except ModuleNotFoundError:
        raise ParamsError(
            f"{path} cannot be read without ruamel.yaml or PyYAML: pip install ruamel.yaml"
        ) from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path} should be a mapping of sections, like {_names(Params)}")
    return content


def check_params(content: Mapping[str, Any], where: str = "params.yaml") -> Params:
    """Check the content of params.yaml and apply the overrides of each space."""
    problems = _unknown_keys(content)
    sections = {name: content.get(name) for name in (*SPACES, *SHARED)}
    checked: dict[str, Section] = {}
    for name, section in SHARED.items():
        _check(section, sections[name], name, checked, problems)
    for name in SPACES:
        _check_space(name, sections, checked, problems)
    if problems:
        raise ParamsError("\n".join(f"{where}: {problem}" for problem in problems))
    return Params.model_construct(
        **{name: checked[name] for name in Params.model_fields}  # type: ignore[arg-type]
    )


def _check_space(
    name: str, sections: Mapping[str, Any], checked: dict[str, Section], problems: list[str]
) -> None:
    """Check one space's section and the shared sections with its overrides laid over them."""
    own = sections[name]
    if not isinstance(own, dict):
        problems.append(f"{name} is missing or not a section of parameters")
        return
    parts: dict[str, Section] = {}
    data = {key: value for key, value in own.items() if key not in ("model", "train")}
    _check(DataParams, data, name, parts, problems)
    for shared in ("model", "train"):
        overrides = {} if own.get(shared) is None else own[shared]
        if not isinstance(overrides, dict):
            problems.append(f"{name}.{shared} is {overrides!r}; it should be a mapping, as in "
                            "{lr: 0.0001}, or {} for none")  # fmt: skip
        elif isinstance(sections[shared], dict) and shared in checked:
            merged = {**sections[shared], **overrides}
            _check(SHARED[shared], merged, f"{name}.{shared}", parts, problems)
    if parts.keys() >= {name, f"{name}.model", f"{name}.train"}:
        checked[name] = SpaceParams.model_construct(
            data=parts[name],  # type: ignore[arg-type]
            model=parts[f"{name}.model"],  # type: ignore[arg-type]
            train=parts[f"{name}.train"],  # type: ignore[arg-type]
        )


def _check(
    section: type[Section],
    values: Any,
    path: str,
    checked: dict[str, Section],
    problems: list[str],
) -> None:
    """Put the checked section into `checked` under its path, or sentences into `problems`."""
    if not isinstance(values, dict):
        problems.append(f"{path} is missing or not a section of parameters: {_names(section)}")
        return
    try:
        checked[path] = section.model_validate(values)
    except ValidationError as error:
        # A value that may be of two kinds has an error for each of them.
        found: dict[str, tuple[type[Section], str, list[Any]]] = {}
        for detail in error.errors():
            owner, owner_path, field = _located(section, path, detail["loc"])
            name = f"{owner_path}.{field}" if field else owner_path
            found.setdefault(name, (owner, owner_path, []))[2].append({**detail, "loc": (field,)})
        problems += [_sentence(*one) for one in found.values()]


def _located(
    section: type[Section], path: str, loc: Sequence[Any]
) -> tuple[type[Section], str, Any]:
    """Follow a location of pydantic's into nested sections: the innermost, its path, the field."""
    field = loc[0] if loc else None
    inner = section.model_fields[field].annotation if field in section.model_fields else None
    if len(loc) > 1 and isinstance(inner, type) and issubclass(inner, Section):
        return _located(inner, f"{path}.{field}", loc[1:])
    return section, path, field


def _sentence(section: type[Section], path: str, details: list[Any]) -> str:
    """Say what pydantic found at a parameter: its path, its value and what is allowed."""
    detail = details[0]
    field = detail["loc"][0]
    name = f"{path}.{field}" if field else path
    match detail["type"]:
        case "missing":
            return f"{name} is missing{_meaning(section, name)}"
        case "extra_forbidden" | "invalid_key":
            return f"{name} is not a parameter{_guess(section, field)}"
        case "value_error":
            return f"{path}.{detail['ctx']['error']}"
        case "string_too_short":
            return f"{name} is empty; it should be a name"
        case "model_type":
            return f"{name} is {detail['input']!r}; it should be a mapping of parameters"
        case _:
            allowed = " or ".join(d["msg"].replace("Input should be ", "") for d in details)
            return f"{name} is {detail['input']!r}; it should be {allowed}"


def _unknown_keys(content: Mapping[str, Any]) -> list[str]:
    known = {*SPACES, *SHARED}
    return [
        f"{key} is not a section; {_meant(key, known)}the sections are {', '.join(sorted(known))}"
        for key in content
        if key not in known
    ]


def _meaning(section: type[Section], name: str) -> str:
    annotation = section.model_fields[name.rsplit(".", 1)[-1]].annotation
    return f": add it with its value ({_kind(annotation)})"


def _kind(annotation: Any) -> str:
    """Say what a value may be: `float`, or `'off' or 'bf16'`."""
    choices = " or ".join(_kind(choice) for choice in get_args(annotation))
    return choices or getattr(annotation, "__name__", repr(annotation))


def _guess(section: type[Section], name: object) -> str:
    return f"; {_meant(name, section.model_fields)}the parameters here are {_names(section)}"


def _meant(name: object, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _names(section: type[Section]) -> str:
    return ", ".join(section.model_fields)
