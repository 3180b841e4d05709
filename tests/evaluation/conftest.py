"""Test photos and untrained models in a tiny project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.config import Params, check_params
from colorgan.evaluation import evaluate as stage
from tiny_project import SIDE, photo_arrays, tiny_params
from trained import save_tiny


@pytest.fixture
def recorded(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `record_results` is given, unsent."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(stage, "record_results", lambda **given: calls.append(given))
    return calls


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """Return a function that makes tiny parameters; its keyword arguments go to `evaluate`."""

    def make(**evaluate: Any) -> Params:
        asked = {"batch_size": 2, "frechet": False, **evaluate}
        changes = {f"evaluate.{name}": value for name, value in asked.items()}
        return check_params(tiny_params({"lab.test_fraction": 0.2, **changes}))

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
        photo_arrays(paths.processed(space), space, test_photos, labels[: len(test_photos)])
        save_tiny(paths.model(space), model_of or space, params, seed=0, side=model_side)

    return make
