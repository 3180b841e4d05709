"""The stage train: what it writes, what it refuses, what stays when it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from colorgan import paths
from colorgan.config import SPACES
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError, ParamsError
from colorgan.model import Model
from colorgan.training.build import check_compatible
from colorgan.training.step import TrainingStep
from tiny_project import listing

WEIGHTS = "generator.safetensors"


def results() -> dict[str, bytes]:
    """What lies in models/ and reports/."""
    made = listing(Path()).items()
    return {name: content for name, content in made if name.startswith(("models/", "reports/"))}


@pytest.mark.parametrize("space", SPACES)
def test_a_model_and_its_curves(write_arrays, run, space) -> None:
    write_arrays(space)
    run(space)
    assert sorted(results()) == [
        f"models/{space}/config.json",
        f"models/{space}/{WEIGHTS}",
        f"reports/{space}/losses.csv",
        f"reports/{space}/validation.csv",
    ]
    model = Model.load(paths.model(space))
    assert (model.space.name, model.image_size) == (space, 32)
    losses = pd.read_csv(paths.losses(space))
    assert list(losses) == ["iteration", "epoch", "loss_D", "loss_G_GAN", "loss_G_L1"]
    assert losses["iteration"].tolist() == [2, 4]
    assert losses["epoch"].tolist() == [1, 2]
    assert np.isfinite(losses).all(axis=None)
    validation = pd.read_csv(paths.validation(space))
    assert list(validation) == [
        "epoch", "l1", "psnr", "ciede2000", "colorfulness_gap", "gain", "ciede2000_ecf"
    ]  # fmt: skip
    assert validation["epoch"].tolist() == [1, 2]


# 64 px: the depth at which the U-Net drops out.
SIDE_64 = {"lab.image_size": 64, "train.jitter": 0.1}


def test_the_same_seed_gives_the_same_bytes_whatever_runtime_and_logging_say(
    write_arrays: Callable[..., Path], run_anew: Callable[..., None]
) -> None:
    write_arrays("lab", side=64)
    run_anew("lab", SIDE_64)
    first = results()
    torch.rand(3)
    run_anew("lab", SIDE_64)
    assert results() == first
    for runtime in (
        {"runtime.num_workers": 2},
        {"runtime.checkpoint_minutes": 0},
        {"train.val_every": 2, "logging.sample_every": 2},
    ):
        run_anew("lab", SIDE_64 | runtime)
        assert results()[f"models/lab/{WEIGHTS}"] == first[f"models/lab/{WEIGHTS}"], runtime
    run_anew("lab", SIDE_64 | {"train.seed": 2})
    assert results()[f"models/lab/{WEIGHTS}"] != first[f"models/lab/{WEIGHTS}"]


REFUSALS = {
    "train.batch_size": (
        11,
        "train.batch_size is 11, which is more than the 8 training photos of lab; it should be at "
        "most 8",
    ),
    "model.n_layers": (
        4,
        "model.n_layers is 4, which leaves no patch of 32 px; it should be at most 3",
    ),
    "train.amp": (
        "fp16",
        "train.amp is 'fp16', which needs a CUDA device (this one is cpu); it should be auto, bf16 "
        "or off",
    ),
    "runtime.devices": (
        1024,
        "runtime.devices is 1024; it should be auto, or on this machine (cpu) at most "
        f"{os.cpu_count()}",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_fit_the_photos_or_the_machine(write_arrays, run, name) -> None:
    """Refused before anything is trained or kept."""
    write_arrays("lab", train=8)
    value, what = REFUSALS[name]
    with pytest.raises(ParamsError) as refusal:
        run("lab", {name: value})
    assert str(refusal.value) == f"params.yaml: {what}"
    assert not results()
    assert not Path(".resume").exists()


def test_arrays_of_another_image_size(write_arrays, run) -> None:
    write_arrays("lab")
    with pytest.raises(ColorganError) as refusal:
        run("lab", {"lab.image_size": 64})
    assert str(refusal.value) == (
        f"{paths.processed('lab') / 'dataset.json'} is for 32 px, params.yaml says "
        "lab.image_size is 64: run `dvc repro preprocess@lab` first"
    )


def test_a_batch_that_cannot_be_shared(write_arrays, make_params) -> None:
    info, cfg = read_info(write_arrays("lab")), make_params({"train.batch_size": 4}).lab
    with pytest.raises(ParamsError) as refusal:
        check_compatible(cfg, info, 10, torch.device("cpu"), 3)
    assert str(refusal.value) == (
        "params.yaml: train.batch_size is 4, which 3 processes cannot share evenly; it should be "
        "a multiple of 3"
    )
    check_compatible(cfg, info, 10, torch.device("cpu"), 2)


def test_a_loss_that_is_not_finite_stops_the_run(write_arrays, run, monkeypatch) -> None:
    write_arrays("lab")
    run("lab")
    before = results()
    infinite = torch.tensor([1.0, float("inf"), 1.0])
    monkeypatch.setattr(TrainingStep, "train_step", lambda *given: infinite)
    with pytest.raises(ColorganError) as refusal:
        run("lab", {"train.seed": 2})
    assert str(refusal.value) == (
        "loss_G_GAN is inf at iteration 2: training has diverged; lower train.lr in "
        "params.yaml, or set train.amp to off"
    )
    assert results() == before
    assert not list(Path().rglob("*.part"))


def test_a_discriminator_that_wins_stops_the_run(
    write_arrays, run, run_anew, monkeypatch, capfd
) -> None:
    """A mean over iterations before it joined says nothing; one that has not learned is named."""
    write_arrays("lab", train=8)
    found = 0.05
    monkeypatch.setattr(
        TrainingStep,
        "train_step",
        lambda step, *given: torch.tensor([found * (given[2] >= step.gan_start), 1, 1]),
    )
    changes = {"train.epochs": 4, "train.gan_gate": 0.69, "logging.log_every": 7}
    run("lab", changes | {"train.gan_start": 0.6})
    found = 0.01
    with pytest.raises(ColorganError, match="the discriminator wins: loss_D is 0"):
        run("lab", changes | {"train.gan_start": 0.0, "train.seed": 2})
    for value, times in ((0.68, 0), (0.7, 1)):
        found = value
        run_anew("lab", changes | {"train.gan_start": 0.0, "logging.log_every": 3})
        said = capfd.readouterr().out
        assert said.count("the discriminator has not learned: loss_D is 0.700 at the end") == times
