"""Which model a name stands for, and what is said where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from colorgan.config import Params
from colorgan.errors import ColorganError, ParamsError
from colorgan.inference.backends import load_network
from colorgan.model import build_generator, save_model
from colorgan.spaces import get_space

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(project: Path, make_params: Callable[..., Params]) -> Path:
    """models/rgb of a project."""
    folder = project / "models" / "rgb"
    folder.mkdir(parents=True)
    space, model = get_space("rgb"), make_params().rgb.model
    save_model(folder, build_generator(space, model, 32), space, model, 32)
    return folder


def test_a_space_is_the_model_of_the_project(trained: Path) -> None:
    network = load_network("rgb", "cpu")
    assert (network.space.name, network.name) == ("rgb", "rgb")
    assert network.predict(np.zeros((2, 3, 32, 64), np.float32)).shape == (2, 3, 32, 64)


def test_a_folder_is_itself(trained: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(trained, tmp_path / "a model")
    assert load_network(elsewhere, "cpu").image_size == 32


def test_the_pretrained_model_needs_no_project(project: Path) -> None:
    assert not (project / "models").exists()
    assert load_network(device="cpu").space.name == "lab"


def test_a_name_that_is_nothing_says_what_would_be_something(project: Path) -> None:
    with pytest.raises(ColorganError, match=r"--model sepia: no folder.*run.*it should be pre"):
        load_network("sepia", "cpu")


def test_a_file_of_weights_names_its_folder(trained: Path) -> None:
    with pytest.raises(ColorganError, match="is a file; it should be the folder it lies in"):
        load_network(trained / "generator.safetensors", "cpu")


def test_a_folder_without_weights_names_the_file(trained: Path) -> None:
    (trained / "generator.safetensors").unlink()
    with pytest.raises(ColorganError, match=r"generator\.safetensors does not exist"):
        load_network("rgb", "cpu")


def test_weights_that_cannot_be_opened_are_not_said_to_be_missing(trained: Path) -> None:
    (trained / "generator.safetensors").unlink()
    (trained / "generator.safetensors").mkdir()
    with pytest.raises(OSError, match=r"Is a directory.*generator\.safetensors"):
        load_network("rgb", "cpu")


@pytest.mark.parametrize("device", ["tpu", "cuda" if not torch.cuda.is_available() else "x"])
def test_a_device_that_is_not_there_names_the_flag(trained: Path, device: str) -> None:
    with pytest.raises(ParamsError, match=f"--device is '{device}'.*auto or one of"):
        load_network("rgb", device)
