"""The best run on the same data becomes the champion, once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from colorgan.config import Params
from colorgan.errors import ColorganError
from colorgan.inference.backends import load_network
from colorgan.serving.promote import promote
from colorgan.tracking.mlflow_log import MlflowClient
from trained import DATA, record_training, save_tiny

OTHER_DATA = "b" * 64
Train = Callable[..., str]


@pytest.fixture
def train(project: Path, tables: Path, make_params: Callable[..., Params]) -> Train:
    """Return a function that records a training with these scores; it returns the SHA-256."""
    shutil.copy(tables, project / "mlflow.db")

    def record(*scores: float, seed: int, digest: str = DATA, keep: str = "best") -> str:
        folder = save_tiny(project / "trained" / str(seed), "lab", make_params(), seed)
        return record_training(folder, "lab", scores, digest, keep)

    return record


def champion() -> Any:
    return MlflowClient().get_model_version_by_alias("colorgan-lab", "champion")


def test_the_best_score_on_the_same_data_wins(train: Train) -> None:
    """Another set of photos is no match, and of a run that keeps the last the last counts."""
    train(0.1, seed=1, digest=OTHER_DATA)
    train(0.2, 0.9, seed=2, keep="last")
    best = train(1.5, 0.6, 1.2, seed=3)
    train(0.7, seed=4)
    start, _, because = promote("lab").partition(": ")
    assert start == "colorgan-lab version 1 is now the champion"
    assert because.startswith(
        "CIEDE2000 0.6000 at equal colourfulness, the best of 3 runs on the data aaaaaaaaaaaa"
    )
    version = champion()
    assert version.tags["colorgan.generator_sha256"] == best
    assert version.tags["promoted.because"] == because
    assert version.tags["data.digest"] == DATA


def test_the_data_are_those_of_the_project_where_it_has_any(
    train: Train, write_arrays: Callable[..., Path]
) -> None:
    write_arrays("lab")
    there = train(0.9, seed=1, digest="0" * 64)
    train(0.1, seed=2)
    promote("lab")
    assert champion().tags["colorgan.generator_sha256"] == there


def test_without_a_run_that_has_a_score_it_says_what_makes_one(train: Train) -> None:
    advice = "`dvc repro --force --single-item train_lab` makes one"
    with pytest.raises(ColorganError, match=advice):
        promote("lab")
    train(seed=1)
    with pytest.raises(ColorganError, match=advice):
        promote("lab")


def test_the_command_says_why(train: Train, colorgan: Callable[..., Any]) -> None:
    """A second time changes nothing, and a better run moves the champion."""
    train(0.8, seed=1)
    said = colorgan("promote", "lab")
    assert said.code == 0
    assert "colorgan-lab version 1 is now the champion: CIEDE2000 0.8000" in said.out
    assert "is already the champion" in colorgan("promote", "lab").out
    assert len(MlflowClient().search_model_versions("name = 'colorgan-lab'")) == 1
    better = train(0.5, seed=2)
    assert "version 2 is now the champion" in colorgan("promote", "lab").out
    assert champion().tags["colorgan.generator_sha256"] == better
    said = colorgan("promote")
    assert (said.code, "train_rgb" in said.err) == (1, True)


def test_a_deleted_run_takes_its_version_along(train: Train, project: Path) -> None:
    """Its files go with `mlflow gc`: the same weights, recorded anew, are another version."""
    train(0.8, seed=1)
    promote("lab")
    MlflowClient().delete_run(champion().run_id)
    [files] = (project / "mlartifacts").rglob(champion().run_id)
    for folder in (files, project / "trained"):
        shutil.rmtree(folder)
    train(0.8, seed=1)
    assert promote("lab").startswith("colorgan-lab version 2 is now the champion")
    assert load_network("models:/colorgan-lab@champion", "cpu").image_size == 32


def test_the_champion_is_a_model_to_colour_with_and_no_pickle(train: Train, project: Path) -> None:
    train(0.8, seed=1)
    promote("lab")
    wanted = load_network(project / "trained" / "1", "cpu")
    input = np.random.default_rng(0).uniform(-1, 1, (1, 1, 32, 32)).astype(np.float32)
    run_id = champion().run_id
    # An experiment's name, a run's as the UI shows it, and MLflow's own ways.
    for name in ("models:/colorgan-lab@champion", "workspace", "workspace / train_lab", run_id,
                 f"runs:/{run_id}", f"runs:/{run_id}/model"):  # fmt: skip
        network = load_network(name, "cpu")
        assert (network.predict(input) == wanted.predict(input)).all(), name
    names = {path.name for path in project.rglob("mlflow_model/**/*")}
    assert "mlflow_model.py" in names
    assert not any(name.endswith((".pkl", ".pickle", ".pt", ".pth")) for name in names)
    [requirements] = project.rglob("mlflow_model/requirements.txt")
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements.read_text()
    assert all(f"{name}==" in requirements.read_text() for name in ("imagecodecs", "tifffile"))
    with pytest.raises(ColorganError, match="colorgan-rgb"):
        load_network("models:/colorgan-rgb@champion", "cpu")
