"""A training run that records to CSV alone: MLflow's store takes seconds to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from colorgan import paths
from colorgan.params import Params, SpaceName
from colorgan.tracking.recorder import CsvSink, Recorder, RunDescription
from colorgan.training import train as stage


@pytest.fixture
def run(
    project: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Return a function that trains a space with tiny parameters, changed by dotted path."""

    def recorder(described: RunDescription) -> Recorder:
        space = described.space
        return Recorder(CsvSink(paths.losses(space), paths.validation(space)))

    def run(space: SpaceName = "lab", changes: dict[str, object] | None = None) -> None:
        stage.train(make_params(changes or {}), space)

    monkeypatch.setattr(stage, "open_recorder", recorder)
    return run
