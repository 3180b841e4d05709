"""Presets: printed as options for DVC, or written into params.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colorgan import paths, presets
from colorgan.errors import ColorganError
from colorgan.params_file import load_params, read_yaml

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "params.yaml"
NAMES = sorted(file.stem for file in (ROOT / "src/colorgan/presets").glob("*.yaml"))


@pytest.fixture(autouse=True)
def shipped(project: Path) -> str:
    """params.yaml as the project ships it, in the working directory."""
    text = SHIPPED.read_text(encoding="utf-8")
    paths.PARAMS.write_text(text, encoding="utf-8")
    return text


def values(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            flat |= values(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def test_default_is_params_yaml_to_the_letter() -> None:
    assert SHIPPED.read_bytes() == (ROOT / "src/colorgan/presets/default.yaml").read_bytes()


def test_all_presets_are_listed_with_what_they_are_for(colorgan: Callable[..., Any]) -> None:
    assert list(presets.descriptions()) == NAMES
    assert {"default", "quick"} <= set(NAMES)
    said = colorgan("preset")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == NAMES
    assert all(len(description) > 20 for description in presets.descriptions().values())


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_gives_valid_parameters_and_changes_nothing_else(name: str) -> None:
    before = values(read_yaml(paths.PARAMS))
    presets.write(name)
    load_params()
    after = values(read_yaml(paths.PARAMS))
    wanted = values(read_yaml(ROOT / f"src/colorgan/presets/{name}.yaml"))
    assert after == before | wanted


@pytest.mark.parametrize("name", NAMES)
def test_writing_touches_only_the_lines_of_its_values(name: str, shipped: str) -> None:
    presets.write(name)
    written = paths.PARAMS.read_text(encoding="utf-8")
    old, new = shipped.splitlines(), written.splitlines()
    assert len(old) == len(new)
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert all(a.partition(":")[0] == b.partition(":")[0] for a, b in changed)
    assert re.findall("#.*", written) == re.findall("#.*", shipped)
    presets.write(name)
    assert paths.PARAMS.read_text(encoding="utf-8") == written


@pytest.mark.parametrize("name", NAMES)
def test_default_goes_back_to_the_letter(name: str, colorgan: Callable[..., Any]) -> None:
    assert colorgan("preset", name, "--write").code == 0
    assert colorgan("preset", "default", "--write").code == 0
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()
    assert [file.name for file in Path().iterdir()] == ["params.yaml"]


def test_default_mends_a_broken_file(colorgan: Callable[..., Any]) -> None:
    paths.PARAMS.write_text("train: [")
    assert colorgan("preset", "default", "--write").code == 0
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_options_name_every_value(name: str, colorgan: Callable[..., Any]) -> None:
    said = colorgan("preset", name)
    assert said.code == 0
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()
    words = said.out.split()
    assert set(words[::2]) == {"-S"}
    options = dict(word.split("=") for word in words[1::2])
    content = values(read_yaml(ROOT / f"src/colorgan/presets/{name}.yaml"))
    wanted = {path: value for path, value in content.items() if value != {}}
    assert options == {
        path: str(value).lower() if isinstance(value, bool) else str(value)
        for path, value in wanted.items()
    }


def test_a_preset_keeps_what_it_does_not_name() -> None:
    text = paths.PARAMS.read_text().replace("lr: 0.0002", "lr: 0.5  # mine")
    paths.PARAMS.write_text(text)
    presets.write("quick")
    assert "lr: 0.5  # mine\n" in paths.PARAMS.read_text()
    assert load_params().rgb.train.epochs == 4


def test_an_unknown_preset_is_refused(colorgan: Callable[..., Any]) -> None:
    with pytest.raises(ColorganError, match=r"no preset is called 'quik'; there are .*default"):
        presets.as_options("quik")
    said = colorgan("preset", "quik", "--write")
    assert said.code != 0
    assert said.err.startswith("colorgan: no preset is called 'quik'")
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()


@pytest.mark.parametrize(
    ("hole", "sentence"),
    [
        ("\nrender:\n  rows: 8\n  extremes: 4\n", "params.yaml lacks the section render: `python "),
        ("\n  lr: 0.0002\n", "params.yaml: train.lr is missing: "),
    ],
)
def test_a_file_with_a_hole_is_left_alone(
    shipped: str, colorgan: Callable[..., Any], hole: str, sentence: str
) -> None:
    assert hole in shipped
    damaged = shipped.replace(hole, "\n")
    paths.PARAMS.write_text(damaged)
    said = colorgan("preset", "quick", "--write")
    assert said.code == 2
    assert said.err.startswith(f"colorgan: {sentence}")
    assert paths.PARAMS.read_text() == damaged
