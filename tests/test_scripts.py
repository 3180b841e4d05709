"""The script that averages models, of which the pretrained generator is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from colorgan.config import Params
from colorgan.model import build_generator, save_model
from colorgan.spaces import get_space

ENCODER: dict[str, object] = {"model.generator": "encoder_unet", "model.ngf": 4}
WEIGHTS = "generator.safetensors"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    import average_models

    return average_models


@pytest.fixture
def saved(tmp_path: Path, make_params: Callable[..., Params]) -> Callable[..., Path]:
    """Return a function that saves a generator of lab with random weights."""

    def save(name: str, changes: dict[str, object]) -> Path:
        lab, model = get_space("lab"), make_params(changes).lab.model
        (tmp_path / name).mkdir()
        save_model(tmp_path / name, build_generator(lab, model, 32), lab, model, 32)
        return tmp_path / name

    return save


def test_the_mean_of_two_models(
    script: ModuleType, saved: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [saved("first", ENCODER), saved("second", ENCODER)]
    script.main(*folders, tmp_path / "mean")
    first, second, mean = (load_file(f / WEIGHTS) for f in (*folders, tmp_path / "mean"))
    assert not torch.equal(first["last.weight"], second["last.weight"])
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor.float(), (first[name].float() + second[name]) / 2)


def test_no_mean_of_different_networks(
    script: ModuleType, saved: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = saved("first", ENCODER), saved("second", ENCODER | {"model.color_queries": 4})
    with pytest.raises(SystemExit, match="are of different networks; they should be of the same"):
        script.main(first, second, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
