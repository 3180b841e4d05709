"""Trained models as the project leaves them: files of tiny networks, and runs in its MLflow."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from colorgan import io
from colorgan.config import Params, SpaceName
from colorgan.model import WEIGHTS, Model, build_generator, save_model
from colorgan.networks import initialise
from colorgan.spaces import get_space
from colorgan.tracking.run import RunDescription, open_recorder
from tiny_project import SIDE

DATA = "a" * 64


def save_tiny(folder: Path, space: SpaceName, params: Params, seed: int, side: int = SIDE) -> Path:
    """Save a network with random weights that are large enough for visible colours."""
    torch.manual_seed(seed)
    kind, model = get_space(space), params.space(space).model
    generator = build_generator(kind, model, side)
    initialise(generator, 0.3)
    folder.mkdir(parents=True)
    save_model(folder, generator, kind, model, side)
    return folder


def record_training(
    generator: Path,
    space: SpaceName,
    scores: Sequence[float] = (),
    digest: str = DATA,
    keep: str = "best",
) -> str:
    """Record the training of a saved network in the project's MLflow; return its SHA-256."""
    sha256, token = io.sha256(generator / WEIGHTS), uuid.uuid4().hex
    place = Path("resume") / token
    place.mkdir(parents=True)
    tags = {"space": space, "data.digest": digest}
    run = RunDescription(f"train_{space}", token, {"train.keep": keep}, tags)
    with open_recorder(run, place) as recorder:
        for epoch, score in enumerate(scores, start=1):
            recorder.log_validation(epoch, {"ciede2000_ecf": score})
        recorder.log_model(generator, sha256)
    return sha256


def fail_on_black(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models produce NaN for black pictures."""
    predict = Model.predict

    def no_numbers_for_black(model: Model, input: torch.Tensor) -> torch.Tensor:
        output = predict(model, input)
        return torch.where(input.amax((1, 2, 3), keepdim=True) > -1, output, torch.nan)

    monkeypatch.setattr(Model, "predict", no_numbers_for_black)
