"""Which model a name stands for, and what is said where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colorgan.config import Params
from colorgan.errors import ColorganError, ParamsError
from colorgan.inference.backends import load_network
from trained import save_tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(project: Path, make_params: Callable[..., Params]) -> Path:
    """models/rgb of a project."""
    return save_tiny(project / "models" / "rgb", "rgb", make_params(), seed=0)


def test_a_name_a_folder_or_nothing_stands_for_a_model(trained: Path, tmp_path: Path) -> None:
    network = load_network("rgb", "cpu")
    assert (network.space.name, network.name) == ("rgb", "rgb")
    assert network.predict(np.zeros((2, 3, 32, 64), np.float32)).shape == (2, 3, 32, 64)
    elsewhere = shutil.copytree(trained, tmp_path / "a model")
    assert load_network(elsewhere, "cpu").image_size == 32
    shutil.rmtree("models")
    assert load_network(device="cpu").space.name == "lab"


def test_what_is_no_model_says_what_would_be_one(trained: Path) -> None:
    with pytest.raises(ColorganError, match=r"--model sepia: no folder.*run.*it should be pre"):
        load_network("sepia", "cpu")
    with pytest.raises(ColorganError, match="it should be pretrained, rgb, lab, a folder with gen"):
        load_network(trained / "generator.safetensors", "cpu")
    with pytest.raises(ParamsError, match=r"--device is 'tpu'.*auto or one of"):
        load_network("rgb", "tpu")
    (trained / "generator.safetensors").unlink()
    with pytest.raises(ColorganError, match=r"generator\.safetensors does not exist"):
        load_network("rgb", "cpu")
