"""Presets: printed as options for DVC, or written into params.yaml."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colorgan import paths, presets
from colorgan.config import flat, load_params, read_yaml

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "params.yaml"
NAMES = sorted(file.stem for file in (ROOT / "src/colorgan/presets").glob("*.yaml"))
WITHOUT_PATH = [name for name in NAMES if name != "photos"]


@pytest.fixture(autouse=True)
def shipped(project: Path) -> str:
    """params.yaml as the project ships it, in the working directory."""
    text = SHIPPED.read_text(encoding="utf-8")
    paths.PARAMS.write_text(text, encoding="utf-8")
    return text


def wanted_of(name: str) -> dict[str, Any]:
    return flat(read_yaml(ROOT / f"src/colorgan/presets/{name}.yaml"))


def test_default_is_params_yaml_to_the_letter() -> None:
    assert SHIPPED.read_bytes() == (ROOT / "src/colorgan/presets/default.yaml").read_bytes()


def test_all_presets_are_listed_with_what_they_are_for(colorgan: Callable[..., Any]) -> None:
    assert list(presets.descriptions()) == NAMES
    assert {"default", "paper", "photos", "quick", "stl10"} <= set(NAMES)
    said = colorgan("preset")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()] == NAMES
    assert all(len(description) > 20 for description in presets.descriptions().values())


@pytest.mark.parametrize("name", ["paper", "quick", "scratch", "stl10"])
def test_pix2pix_is_as_published(name: str) -> None:
    content = flat(presets.content(name))
    assert (content["model.generator"], content["model.discriminator"]) == ("unet", "patch")
    assert (content["train.gan_start"], content["train.lambda_l1"]) == (0, 100)


@pytest.mark.parametrize("name", WITHOUT_PATH)
def test_writing_touches_only_the_lines_of_its_values(name: str, shipped: str) -> None:
    presets.write(name)
    written = paths.PARAMS.read_text(encoding="utf-8")
    load_params()
    assert flat(read_yaml(paths.PARAMS)) == flat(read_yaml(SHIPPED)) | wanted_of(name)
    old, new = shipped.splitlines(), written.splitlines()
    assert len(old) == len(new)
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert all(a.partition(":")[0] == b.partition(":")[0] for a, b in changed)
    assert re.findall("#.*", written) == re.findall("#.*", shipped)
    presets.write(name)
    assert paths.PARAMS.read_text(encoding="utf-8") == written


def test_default_mends_a_broken_file(colorgan: Callable[..., Any]) -> None:
    paths.PARAMS.write_text("train: [")
    assert colorgan("preset", "default", "--write").code == 0
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()
    assert [file.name for file in Path().iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("name", WITHOUT_PATH)
def test_options_name_every_value(name: str, colorgan: Callable[..., Any]) -> None:
    said = colorgan("preset", name)
    assert said.code == 0
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()
    words = said.out.split()
    assert set(words[::2]) == {"-S"}
    assert dict(word.split("=") for word in words[1::2]) == {
        path: str(value).lower() if isinstance(value, bool) else str(value)
        for path, value in wanted_of(name).items()
    }


def test_an_unknown_preset_is_refused(colorgan: Callable[..., Any]) -> None:
    said = colorgan("preset", "quik", "--write")
    assert said.code != 0
    assert said.err.startswith("colorgan: no preset is called 'quik'; there are default, ")
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()


def test_a_file_with_a_hole_is_left_alone(shipped: str, colorgan: Callable[..., Any]) -> None:
    damaged = shipped.replace("\n  jitter: 0.0\n", "\n")
    paths.PARAMS.write_text(damaged)
    said = colorgan("preset", "quick", "--write")
    assert said.code == 2
    assert said.err.startswith("colorgan: params.yaml: train.jitter is missing: ")
    assert paths.PARAMS.read_text() == damaged


@pytest.mark.parametrize(
    ("files", "path", "source"),
    [
        (["a.parquet"], "a.parquet", "parquet"),
        (["x/b/c.parquet", "x/README.md"], "x", "parquet"),
        (["x/y/a.JPG"], "x", "folder"),
        (["with space/ü.png"], "here/../with space", "folder"),
    ],
)
def test_photos_takes_its_source_from_the_files(project, files, path, source) -> None:
    for name in files:
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).touch()
    Path("here").mkdir()
    presets.write("photos", Path(path))
    for space in (load_params().rgb, load_params().lab):
        assert (space.data.source, space.data.path) == (source, str((project / path).resolve()))
        assert (space.data.image_size, space.data.min_side) == (192, 64)


@pytest.mark.parametrize("name", ["gone.jpg", "pipe", ".dvcignore", "secret.txt"])
def test_what_dvc_would_stop_at_is_named_first(project, monkeypatch, colorgan, name) -> None:
    bad = project / "x/y" / name
    bad.parent.mkdir(parents=True)
    (project / "x/a.jpg").touch()
    if name == "gone.jpg":
        bad.symlink_to("nowhere")
    elif name == "pipe":
        os.mkfifo(bad)
    else:
        bad.touch()
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda file, mode: "secret" not in file.name and access(file, mode)
    )
    paths.PARAMS.write_text(SHIPPED.read_text().replace("path: data/sample", "path: x"))
    for command in (("preset", "photos", "--path", "x"), ("check-photos",)):
        said = colorgan(*command)
        assert said.code == 1
        assert said.err.startswith(f"colorgan: 'x/y/{name}' ")
        assert "would stop there, so delete it or move it elsewhere" in said.err
        assert said.err.count("\n") == 1
    bad.unlink()
    assert colorgan("check-photos").code == 0


def test_what_photos_and_the_path_need(colorgan: Callable[..., Any]) -> None:
    Path("x.zip").touch()
    cases = {
        ("photos",): "the preset photos needs the photos: `preset photos --path PATH`, with",
        ("photos", "--path", "no/where"): f"{Path.cwd()}/no/where does not exist: the path should",
        ("photos", "--path", "x.zip"): f"{Path.cwd()}/x.zip is a file, but no .parquet file: ",
        ("quick", "--path", "."): "the preset quick takes no --path: `preset photos --path PATH`",
    }
    for arguments, sentence in cases.items():
        said = colorgan("preset", *arguments, "--write")
        assert said.code == 1
        assert said.err.startswith(f"colorgan: {sentence}")
        assert said.err.count("\n") == 1
    assert paths.PARAMS.read_bytes() == SHIPPED.read_bytes()


def test_plain_paths_reach_dvc_and_others_are_to_be_written(project, colorgan) -> None:
    """By DVC's own reading of `-S`."""
    from dvc.utils.cli_parse import to_path_overrides
    from dvc.utils.hydra import apply_overrides

    (project / "plain-1.0+x").mkdir()
    options = presets.as_options("photos", Path("plain-1.0+x")).split()
    overrides = to_path_overrides(options[1::2])
    apply_overrides("params.yaml", overrides["params.yaml"])
    assert load_params().rgb.data.path == load_params().lab.data.path
    assert load_params().rgb.data.path == str(project / "plain-1.0+x")
    for name in ("with space", "st*r", "${x}", "it's", "a=b,c"):
        Path(name).mkdir()
        said = colorgan("preset", "photos", "--path", name)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith(f"colorgan: {Path.cwd() / name} has characters that the shell")
        assert "--write" in said.err
