"""Trainings and single steps with tiny networks.

Trainings record to CSV alone: MLflow's store takes seconds to make.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from colorgan.config import Params, SpaceName
from colorgan.runs.runtime import Group, Runtime
from colorgan.spaces import get_space
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from colorgan.training.build import build_step
from colorgan.training.step import TrainingStep


@pytest.fixture
def run(project, make_params, monkeypatch) -> Callable[..., None]:
    """Return a function that trains a space with tiny parameters, changed by dotted path.

    The same training once more only puts its results out again, as it does for a user.
    """

    def recorder(_: RunDescription, folder: Path, iteration: int, epoch: int) -> Recorder:
        return Recorder(folder, iteration=iteration, epoch=epoch)

    def run(space: SpaceName = "lab", changes: dict[str, object] | None = None) -> None:
        assert stage.train(make_params(changes or {}), space) == 0

    monkeypatch.setattr(stage, "open_recorder", recorder)
    monkeypatch.setattr(stage, "record_finished", lambda *_: None)
    return run


@pytest.fixture
def run_anew(run: Callable[..., None]) -> Callable[..., None]:
    """Return a function that trains from the beginning, whatever was trained before."""

    def run_anew(space: SpaceName = "lab", changes: dict[str, object] | None = None) -> None:
        shutil.rmtree(".resume", ignore_errors=True)
        run(space, changes)

    return run_anew


@pytest.fixture
def make_step(make_params: Callable[..., Params]) -> Callable[..., TrainingStep]:
    """Return a function that builds both networks of a space, always with the same weights.

    Parameters are changed by name, `train__lr` for train.lr.
    """

    def make(
        space: str = "lab",
        side: int = 32,
        compile: str = "off",
        group: Group = Group(),  # noqa: B008 (it is frozen)
        weights: dict[str, Tensor] | None = None,
        per_epoch: int = 0,
        **changes: object,
    ) -> TrainingStep:
        tiny = {"model.ngf": 4, "model.ndf": 4, "model.dropout": 0.0}
        params = make_params(tiny | {name.replace("__", "."): v for name, v in changes.items()})
        amp = params.rgb.train.amp
        precision = "off" if amp == "auto" else amp
        runtime = Runtime(torch.device("cpu"), precision, compile, group)  # type: ignore[arg-type]
        return build_step(get_space(space), params.space(space), side, runtime, weights, per_epoch)

    return make


@pytest.fixture
def batch() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a function that makes a batch of noise as the step takes it, always the same."""

    def make(space: str = "lab", side: int = 32, photos: int = 4) -> tuple[Tensor, Tensor]:
        kind = get_space(space)
        random = torch.Generator().manual_seed(5)
        input = torch.randint(0, 256, (photos, side, side), generator=random, dtype=torch.uint8)
        shape = (photos, side, side, kind.out_channels)
        target = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
        return kind.encode(input, target)

    return make
