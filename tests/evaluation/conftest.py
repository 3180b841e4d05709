"""A project in a temporary folder: tiny arrays on disk, untrained models, parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from colorgan import paths, presets
from colorgan.color import UInt8Array
from colorgan.config import Params, check_params
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo
from colorgan.evaluation import evaluate as stage
from colorgan.model import build_generator, save_model
from colorgan.spaces import get_space

SIDE = 32


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the working directory, with an MLflow store of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


@pytest.fixture
def recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is handed to `record_results`, in place of MLflow."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(stage, "record_results", lambda **given: calls.append(given))
    return calls


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """Return a function that makes tiny parameters.

    Its keyword arguments go to `evaluate`.
    """

    def make(**evaluate: Any) -> Params:
        content = presets.content("scratch")
        for space in ("rgb", "lab"):
            content[space] |= {"image_size": SIDE, "test_fraction": 0.2}
        content["model"] |= {"ngf": 2, "ndf": 2}
        asked = {"frechet": False, "fid": False, "lpips": False, **evaluate}
        content["evaluate"] |= {"batch_size": 2, **asked}
        content["runtime"]["device"] = "cpu"
        return check_params(content)

    return make


@pytest.fixture
def params(make_params: Callable[..., Params]) -> Params:
    return make_params()


@pytest.fixture
def make_photos() -> Callable[..., UInt8Array]:
    """Return a function that makes photos `(N, 32, 32, 3)`: a colour each, with noise on it."""

    def make(count: int, seed: int = 0) -> UInt8Array:
        rng = np.random.default_rng(seed)
        base = rng.integers(40, 216, (count, 1, 1, 3))
        noise = rng.integers(-40, 40, (count, SIDE, SIDE, 3))
        return np.clip(base + noise, 0, 255).astype(np.uint8)

    return make


@pytest.fixture
def write_arrays(project: Path) -> Callable[[str, UInt8Array, Sequence[str]], None]:
    """Return a function that writes photos as the test split of a space, as preprocess would."""

    def write(space: str, photos: UInt8Array, labels: Sequence[str]) -> None:
        folder = paths.processed(space)
        (folder / "test").mkdir(parents=True)
        if len(photos):
            pairs = [get_space(space).arrays(photo) for photo in photos]
            np.save(folder / "test" / "input.npy", np.stack([input for input, _ in pairs]))
            np.save(folder / "test" / "target.npy", np.stack([target for _, target in pairs]))
        rows = [[f"photo{i}", "test", label, "sample", 640, 480] for i, label in enumerate(labels)]
        pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
        counts = {"train": 0, "val": 0, "test": len(photos)}
        channels = get_space(space).out_channels
        DatasetInfo(space, SIDE, channels, counts, rejected=0, digest="0" * 64).write(folder)

    return write


@pytest.fixture
def write_model(project: Path, params: Params) -> Callable[..., None]:
    """Return a function that saves a generator with random weights, always the same."""

    def write(space: str, trained_for: str = "", side: int = SIDE) -> None:
        torch.manual_seed(0)
        kind = get_space(trained_for or space)
        model = params.space(space).model
        paths.model(space).mkdir(parents=True)
        save_model(paths.model(space), build_generator(kind, model, side), kind, model, side)

    return write


@pytest.fixture
def make_project(
    write_arrays: Callable[..., None],
    write_model: Callable[..., None],
    make_photos: Callable[..., UInt8Array],
) -> Callable[..., None]:
    """Return a function that writes a model and so many test photos for each space named.

    The labels are forest, sea, forest, ... so that neither order nor counts are alike.
    """

    def make(**photos: int) -> None:
        for space, count in photos.items():
            labels = ["sea" if i % 2 else "forest" for i in range(count)]
            write_arrays(space, make_photos(count), labels)
            write_model(space)

    return make
