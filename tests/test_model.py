"""Saving a generator, loading it anywhere, colouring with it; and folders that hold no model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from colorgan import io
from colorgan.config import SPACES, Params
from colorgan.data.arrays import open_split
from colorgan.errors import ColorganError
from colorgan.model import Model, build_generator, save_model
from colorgan.networks import initialise
from colorgan.spaces import get_space

SIDE = 32


@pytest.fixture
def params(make_params: Callable[..., Params]) -> Params:
    return make_params()


@pytest.fixture(params=SPACES)
def folder(request: pytest.FixtureRequest, project: Path, params: Params) -> Path:
    """models/<space>: a generator with random weights."""
    torch.manual_seed(0)
    space, model = get_space(request.param), params.rgb.model
    generator = build_generator(space, model, SIDE)
    initialise(generator, 0.3)
    folder = Path("models") / request.param
    folder.mkdir(parents=True)
    save_model(folder, generator, space, model, SIDE)
    return folder


def test_a_model_is_weights_and_a_config(folder: Path, params: Params) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generator.safetensors",
    ]
    assert json.loads((folder / "config.json").read_text()) == {
        "version": 4,
        "space": folder.name,
        "image_size": SIDE,
        "model": params.rgb.model.model_dump(),
    }


def test_it_comes_back_as_it_was_saved(folder: Path, params: Params) -> None:
    model = Model.load(folder)
    assert model.space.name == folder.name
    assert model.image_size == SIDE
    assert model.sha256 == io.sha256(folder / "generator.safetensors")
    assert not model.generator.training
    assert not any(weight.requires_grad for weight in model.generator.parameters())
    again = folder.with_name("again")
    again.mkdir()
    save_model(again, model.generator, model.space, params.rgb.model, SIDE)
    for name in ("generator.safetensors", "config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_it_colours_each_photo_by_itself(folder: Path) -> None:
    model = Model.load(folder)
    input = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8)
    together = model.colorize_batch(input)
    assert together.shape == (3, SIDE, SIDE, 3)
    assert together.dtype == torch.uint8
    assert together.float().std() > 1
    alone = torch.cat([model.colorize_batch(photo[None]) for photo in input])
    assert (together.int() - alone.int()).abs().max() <= 1
    assert torch.equal(together, model.colorize_batch(input))


def test_a_split_is_coloured_in_its_order(folder: Path, write_arrays: Callable[..., Path]) -> None:
    split = open_split(write_arrays(folder.name, test=5), "test")
    model = Model.load(folder)
    batches = list(model.colorize_split(split, 2))
    assert [len(batch.truth) for batch in batches] == [2, 2, 1]
    for batch in batches:
        assert batch.gray.shape == batch.truth.shape == batch.generated.shape
        spread = batch.gray.max(-1).astype(int) - batch.gray.min(-1)
        assert spread.max() <= 1
    if folder.name == "rgb":
        assert (batches[1].truth == split.target[2:4]).all()
        assert (batches[1].gray[..., 0] == split.input[2:4]).all()
    last = model.colorize_batch(torch.from_numpy(split.input[4:].copy()))
    assert (batches[2].generated == last.numpy()).all()


@pytest.mark.parametrize(
    ("version", "unknown"),
    [
        (1, ("encoder", "encoder_weights", "discriminator", "color_queries")),
        (3, ("color_queries",)),
    ],
)
def test_a_config_of_an_earlier_version(
    folder: Path, version: int, unknown: tuple[str, ...]
) -> None:
    content = json.loads((folder / "config.json").read_text()) | {"version": version}
    for name in unknown:
        del content["model"][name]
    (folder / "config.json").write_text(json.dumps(content))
    assert Model.load(folder).space.name == folder.name
    (folder / "config.json").write_text(json.dumps(content | {"model": None}))
    refused(folder, f"{folder / 'config.json'} does not describe a model: ")


@pytest.mark.parametrize("name", ["generator.safetensors", "config.json"])
def test_a_missing_file_says_what_to_run(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ColorganError) as refusal:
        Model.load(folder)
    space = folder.name
    assert str(refusal.value) == (
        f"{folder / name} does not exist: run `dvc repro train_{space}` "
        f"(or `python -m colorgan train {space}`) first"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 5}, "is of version 5, this code reads 4"),
        ({"space": "hsv"}, "does not describe a model: no space is called 'hsv'; there are rgb"),
        ({"image_size": 100}, "does not describe a model: image_size is 100; it should be a mul"),
        ({"model": {"generator": "unet"}}, "does not describe a model: 9 validation errors"),
        ({"image_size": ...}, "does not describe a model: it lacks 'image_size'"),
    ],
)
def test_a_config_that_describes_no_model(
    folder: Path, changes: dict[str, object], sentence: str
) -> None:
    content = json.loads((folder / "config.json").read_text()) | changes
    content = {name: value for name, value in content.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(content))
    refused(folder, f"{folder / 'config.json'} {sentence}")


def test_damaged_files(folder: Path) -> None:
    weights, config = folder / "generator.safetensors", folder / "config.json"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(folder, f"{weights} does not hold the weights that config.json describes: ")
    for content, sentence in (
        (b'{"version": 4,', "is not valid JSON: "),
        (b"\xff\xfe", "is not valid JSON: "),
        (b"[]", "is of version None, this code reads 4"),
    ):
        config.write_bytes(content)
        refused(folder, f"{config} {sentence}")


def test_weights_of_another_size(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["model"]["ngf"] = 4
    (folder / "config.json").write_text(json.dumps(content))
    weights = folder / "generator.safetensors"
    said = refused(folder, f"{weights} does not hold the weights that config.json describes: ")
    assert "size mismatch" in said


def refused(folder: Path, start: str) -> str:
    with pytest.raises(ColorganError) as refusal:
        Model.load(folder)
    said = str(refusal.value)
    assert said.startswith(start)
    assert "\n" not in said
    assert len(said) < 500
    return said
