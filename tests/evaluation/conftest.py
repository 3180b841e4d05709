"""A project in a temporary folder: tiny arrays, untrained models, parameters."""

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
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """An empty project as the working directory; what `record_results` is given, unsent."""
    calls: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "record_results", lambda **given: calls.append(given))
    return calls


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """Return a function that makes tiny parameters; its keyword arguments go to `evaluate`."""

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
def photos() -> UInt8Array:
    """Five photos `(5, 32, 32, 3)`: each one colour with noise on it."""
    rng = np.random.default_rng(0)
    base = rng.integers(40, 216, (5, 1, 1, 3))
    noise = rng.integers(-40, 40, (5, SIDE, SIDE, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def make_project(recorded: object, params: Params, photos: UInt8Array) -> Callable[..., None]:
    """Return a function that writes test photos and a model of random weights for a space."""

    def make(
        space: str,
        shown: int | UInt8Array,
        labels: Sequence[str] = ("forest", "sea", "forest", "sea", "forest"),
        model_of: str = "",
        model_side: int = SIDE,
    ) -> None:
        test_photos = photos[:shown] if isinstance(shown, int) else shown
        folder = paths.processed(space)
        (folder / "test").mkdir(parents=True)
        if len(test_photos):
            inputs, targets = get_space(space).arrays(test_photos)
            np.save(folder / "test" / "input.npy", inputs)
            np.save(folder / "test" / "target.npy", targets)
        rows = [
            [f"photo{i}", "test", label, "sample", 640, 480]
            for i, label in enumerate(labels[: len(test_photos)])
        ]
        pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
        counts = {"train": 0, "val": 0, "test": len(test_photos)}
        channels = get_space(space).out_channels
        DatasetInfo(space, SIDE, channels, counts, rejected=0, digest="0" * 64).write(folder)
        torch.manual_seed(0)
        kind, model = get_space(model_of or space), params.space(space).model
        paths.model(space).mkdir(parents=True)
        generator = build_generator(kind, model, model_side)
        save_model(paths.model(space), generator, kind, model, model_side)

    return make
