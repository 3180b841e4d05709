"""Saving a generator, loading it anywhere, colouring with it; and folders that hold no model."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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
        "version": 6,
        "space": folder.name,
        "image_size": SIDE,
        "gain": 1.0,
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
    # Each photo is coloured by itself.
    (together,) = model.colorize_split(split, 5)
    apart = np.concatenate([batch.generated for batch in batches])
    assert apart.std() > 1
    assert np.abs(together.generated.astype(int) - apart).max() <= 1


@pytest.mark.parametrize(
    ("version", "unknown", "further"),
    [
        (1, ("encoder", "encoder_weights", "discriminator", "hints"), {}),
        (3, ("hints",), {}),
        (5, ("hints",), {"color_queries": 0}),
        (6, (), {"color_queries": 0}),
    ],
)
def test_a_config_of_an_earlier_version(folder, version, unknown, further) -> None:
    content = json.loads((folder / "config.json").read_text()) | {"version": version}
    content["model"] |= further
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
        ({"version": 7}, "is of version 7, this code reads 6"),
        ({"space": "hsv"}, "space is 'hsv'; it should be 'rgb' or 'lab'"),
        ({"image_size": 32 * 10**6}, "image_size is 32000000; it should be less than or"),
        ({"image_size": "32"}, "image_size is '32'; it should be a valid integer"),
        ({"image_size": ...}, "image_size is missing"),
        ({"colours": 7}, "colours is not a parameter"),
        ({"model": [1]}, "model is [1]; it should be a section of parameters"),
        ({"model.ngf": 100_000}, "model.ngf is 100000; it should be less than or equal to 1024"),
        ({"model.depth": 9}, "model.depth is not a parameter"),
        ({"model.color_queries": 64}, "model.color_queries is not a parameter"),
    ],
)
def test_a_config_that_describes_no_model(folder, changes, sentence) -> None:
    change_config(folder, changes)
    said = "" if "version" in changes else "does not describe a model: "
    refused(folder, f"{folder / 'config.json'} {said}{sentence}")


@pytest.mark.parametrize("encoder", ["hf-hub:a/b", "hf_hub:a/b", "local-dir:/b", "timm/resnet18"])
def test_a_strangers_model_asks_nothing_of_the_network(folder, monkeypatch, encoder) -> None:
    def cut(*given: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", cut)
    monkeypatch.setattr("socket.getaddrinfo", cut)
    changes = {"model.generator": "encoder_unet", "model.encoder": encoder}
    change_config(folder, changes)
    where = f"{folder / 'config.json'} does not describe a model: "
    refused(folder, f"{where}model.encoder is '{encoder}'; it should match pattern")
    # A name that timm knows, with weights of its hub.
    change_config(
        folder, changes | {"model.encoder": "resnet18", "model.encoder_weights": "imagenet"}
    )
    refused(folder, f"{folder / 'generator.safetensors'} does not hold the weights that config.jso")
    change_config(folder, changes | {"model.encoder": "lite9"})
    refused(folder, f"{where}timm ")


def test_damaged_files(folder: Path) -> None:
    weights, config = folder / "generator.safetensors", folder / "config.json"
    whole = weights.read_bytes()
    # Cut anywhere; and a header of 2**62 bytes.
    for content in (b"", whole[:7], whole[:100], whole[:-1], b"\0" * 7 + b"\x40" + whole[8:]):
        weights.write_bytes(content)
        refused(folder, f"{weights} does not hold the weights that config.json describes: ")
    weights.unlink()
    weights.mkdir()
    refused(folder, f"{weights} does not hold the weights that config.json describes: ")
    for content, sentence in (
        (b'{"version": 4,', "is not valid JSON: "),
        (b"[" * 100_000, "is not valid JSON: "),
        (b"9" * 5000, "is not valid JSON: "),
        (b"[]", "is of version None, this code reads 6"),
    ):
        config.write_bytes(content)
        refused(folder, f"{config} {sentence}")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda x: x[..., :1], r"up.0.1.weight should be of the size (16, 16, 4, 4), it is (16"),
        (lambda x: x.byte(), "up.0.1.weight is of type torch.uint8; it should be torch.float32"),
        (lambda x: x * torch.nan, "up.0.1.weight has values that are not finite (NaN or inf)"),
        (lambda x: x.double() + 1e200, "up.0.1.weight has values that are not finite"),
        (None, "up.0.1.weight is missing"),
    ],
)
def test_weights_that_do_not_fit(folder, damage, sentence) -> None:
    weights = folder / "generator.safetensors"
    state = load_file(weights)
    changed = state.pop("up.0.1.weight")
    if damage:
        state["up.0.1.weight"] = damage(changed).contiguous()
    save_file(state, weights)
    refused(folder, f"{weights} does not hold the weights that config.json describes: {sentence}")


def test_no_memory_is_taken_for_weights_that_are_not_there(folder: Path) -> None:
    """With 1024 they would take 14 GB."""
    change_config(folder, {"model.ngf": 1024})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = refused(folder, f"{folder / 'generator.safetensors'} does not hold the weights that ")
    assert "should be of the size" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000


def change_config(folder: Path, changes: dict[str, object]) -> None:
    """Change config.json by dotted path; `...` removes."""
    content = json.loads((folder / "config.json").read_text())
    for path, value in changes.items():
        *section, name = path.split(".")
        place = content[section[0]] if section else content
        place[name] = value
        if value is ...:
            del place[name]
    (folder / "config.json").write_text(json.dumps(content))


def refused(folder: Path, start: str) -> str:
    with pytest.raises(ColorganError) as refusal:
        Model.load(folder)
    said = str(refusal.value)
    assert said.startswith(start)
    assert "\n" not in said
    assert len(said) < 500
    return said
