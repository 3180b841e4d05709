"""The stage train: what it writes, what it refuses, what stays when it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from colorgan import paths
from colorgan.colorizer import Colorizer
from colorgan.errors import ColorganError, ParamsError
from colorgan.params import SPACES, SpaceName
from colorgan.training.step import Pix2Pix

WEIGHTS = "generator.safetensors"


def results() -> dict[str, bytes]:
    folders = paths.MODELS, paths.REPORTS
    return {
        path.as_posix(): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("space", SPACES)
def test_a_model_and_its_curves(
    write_arrays: Callable[..., Path], run: Callable[..., None], space: SpaceName
) -> None:
    write_arrays(space)
    run(space)
    assert sorted(results()) == [
        f"models/{space}/config.json",
        f"models/{space}/{WEIGHTS}",
        f"reports/{space}/losses.csv",
        f"reports/{space}/validation.csv",
    ]
    colorizer = Colorizer.load(paths.model(space))
    assert (colorizer.space.name, colorizer.image_size) == (space, 32)
    losses = pd.read_csv(paths.losses(space))
    assert list(losses) == ["iteration", "epoch", "loss_D", "loss_G_GAN", "loss_G_L1"]
    assert losses["iteration"].tolist() == [2, 4]
    assert losses["epoch"].tolist() == [1, 2]
    assert np.isfinite(losses).all(axis=None)
    validation = pd.read_csv(paths.validation(space))
    assert list(validation) == ["epoch", "l1", "psnr", "colorfulness_gap"]
    assert validation["epoch"].tolist() == [1, 2]


# 64 px: the depth at which the U-Net drops out.
SIDE_64 = {"lab.image_size": 64, "train.jitter": 0.1}


def test_the_same_seed_gives_the_same_bytes(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    write_arrays("lab", side=64)
    run("lab", SIDE_64)
    first = results()
    torch.rand(3)
    run("lab", SIDE_64)
    assert results() == first
    run("lab", SIDE_64 | {"train.seed": 2})
    assert results()[f"models/lab/{WEIGHTS}"] != first[f"models/lab/{WEIGHTS}"]


@pytest.mark.parametrize(
    "runtime", [{"runtime.num_workers": 2}, {"runtime.progress": "lines"}], ids=str
)
def test_what_is_under_runtime_cannot_change_a_result(
    write_arrays: Callable[..., Path], run: Callable[..., None], runtime: dict[str, object]
) -> None:
    write_arrays("lab", side=64)
    run("lab", SIDE_64)
    first = results()
    run("lab", SIDE_64 | runtime)
    assert results() == first


@pytest.mark.parametrize(
    "changes",
    [
        {"lab.train": {"lr": 0.1}},
        {"lab.model": {"ngf": 3}},
        {"train.gan_loss": "hinge"},
        {"train.flip": False},
        {"train.jitter": 0.2},
        {"train.lambda_l1": 0},
        {"train.beta1": 0.9},
    ],
    ids=str,
)
def test_every_hyperparameter_tells(
    write_arrays: Callable[..., Path], run: Callable[..., None], changes: dict[str, object]
) -> None:
    write_arrays("lab", val=0)
    run("lab")
    first = results()
    run("lab", changes)
    assert results()[f"models/lab/{WEIGHTS}"] != first[f"models/lab/{WEIGHTS}"]


def test_it_learns(write_arrays: Callable[..., Path], run: Callable[..., None]) -> None:
    """Photos that are all of one colour: this a network learns in a few seconds."""
    folder = write_arrays("lab")
    for split in ("train", "val"):
        path = folder / split / "target.npy"
        target = np.load(path)
        target[..., 0], target[..., 1] = 180, 90
        np.save(path, target)
    run("lab", {"train.epochs": 30, "train.lr": 0.005, "model.ngf": 8, "train.flip": False})
    losses = pd.read_csv(paths.losses("lab"))["loss_G_L1"]
    assert losses.iloc[-1] < losses.iloc[0] / 3


def test_before_preprocess(project: Path, run: Callable[..., None]) -> None:
    with pytest.raises(ColorganError, match=r"dataset.json does not exist: run `dvc repro prepr"):
        run("lab")
    assert not results()


def test_a_batch_larger_than_the_data(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    write_arrays("lab", train=10)
    with pytest.raises(ParamsError) as refusal:
        run("lab", {"train.batch_size": 11})
    assert str(refusal.value) == (
        "params.yaml: train.batch_size is 11, which is more than the 10 training photos of lab; "
        "it should be at most 10"
    )
    run("lab", {"train.batch_size": 10})


def test_arrays_of_another_image_size(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    write_arrays("lab")
    with pytest.raises(ColorganError) as refusal:
        run("lab", {"lab.image_size": 64})
    assert str(refusal.value) == (
        f"{paths.processed('lab') / 'dataset.json'} is for 32 px, params.yaml says "
        "lab.image_size is 64: run `dvc repro preprocess@lab` first"
    )


def test_a_discriminator_too_deep_for_the_photos(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    write_arrays("lab")
    with pytest.raises(ParamsError) as refusal:
        run("lab", {"model.n_layers": 4})
    assert str(refusal.value) == (
        "params.yaml: model.n_layers is 4, which leaves no patch of 32 px; it should be at most 3"
    )
    run("lab", {"model.n_layers": 3})


def test_arrays_of_the_other_space(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    write_arrays("rgb")
    paths.processed("rgb").rename(paths.processed("lab"))
    with pytest.raises(ColorganError, match=r"dataset\.json is of the space rgb"):
        run("lab")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    write_arrays("lab")
    run("lab")
    before = results()
    good, bad = torch.tensor(1.0), torch.tensor(value)
    monkeypatch.setattr(Pix2Pix, "train_step", lambda *given: (good, bad, good))
    with pytest.raises(ColorganError) as refusal:
        run("lab")
    assert str(refusal.value) == (
        f"loss_G_GAN is {value} at iteration 2: training has diverged; lower train.lr in "
        "params.yaml, or set train.amp to off"
    )
    assert results() == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError])
def test_a_stopped_training_leaves_the_last_results(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    stop: type[BaseException],
) -> None:
    write_arrays("lab")
    run("lab")
    before = results()
    train_step = Pix2Pix.train_step
    calls: list[object] = []

    def stopped(self: Pix2Pix, *batch: torch.Tensor) -> object:
        calls.append(batch)
        if len(calls) == 4:
            raise stop
        return train_step(self, *batch)

    monkeypatch.setattr(Pix2Pix, "train_step", stopped)
    with pytest.raises(stop):
        run("lab", {"train.log_every": 1, "train.seed": 2})
    assert len(calls) == 4
    assert results() == before
    assert not list(Path().rglob("*.part"))


def test_a_model_that_cannot_be_written_leaves_the_last_one(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_arrays("lab")
    run("lab")
    before = results()

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("colorgan.colorizer.files.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        run("lab", {"train.seed": 2})
    assert results() == before
    assert not list(Path().rglob("*.part"))
