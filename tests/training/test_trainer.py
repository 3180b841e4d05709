"""What is logged, validated, drawn and kept, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from colorgan import paths
from colorgan.model import WEIGHTS, Model
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from colorgan.training import trainer
from colorgan.training.step import TrainingStep
from colorgan.training.validate import Validator, sample_grid


class Notes(Recorder):
    """A recorder that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[tuple[int, int, Mapping[str, float]]] = []
        self.validated: list[int] = []
        self.grids: list[tuple[str, int, Image.Image]] = []
        self.models: list[str] = []

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        super().log_losses(iteration, epoch, losses)
        self.losses.append((iteration, epoch, losses))

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        super().log_validation(epoch, metrics)
        self.validated.append(epoch)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        self.grids.append((key, epoch, picture))

    def log_model(self, folder: Path, sha256: str) -> None:
        self.models.append(sha256)


@pytest.fixture
def notes(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Notes:
    notes = Notes()

    def recorder(_: RunDescription, folder: Path, *__: int) -> Recorder:
        Recorder.__init__(notes, folder)
        return notes

    monkeypatch.setattr(stage, "open_recorder", recorder)
    return notes


def test_both_optimizers_follow_the_learning_rate(write_arrays, run, monkeypatch) -> None:
    write_arrays("lab", train=8, val=0)
    rates: list[tuple[float, float]] = []
    train_step = TrainingStep.train_step

    def observed(self: TrainingStep, *given: object) -> torch.Tensor:
        optimizers = self.optimizer_g, self.optimizer_d
        rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers))  # type: ignore[arg-type]
        return train_step(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingStep, "train_step", observed)
    run("lab", {"train.epochs": 3, "train.decay_start": 0.34, "train.lr": 0.3})
    expected = [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
    assert rates == [pytest.approx((rate, rate)) for rate in expected]


def test_losses_are_logged_every_so_often_and_at_the_end(write_arrays, run_anew, notes) -> None:
    """Five batches an epoch, two epochs: means over 4, 4 and the last 2 iterations."""
    write_arrays("lab", train=20, val=0)
    run_anew("lab", {"logging.log_every": 1})
    every = [losses for _, _, losses in notes.losses]
    assert [(i, epoch) for i, epoch, _ in notes.losses] == [(i, 1 + (i > 5)) for i in range(1, 11)]
    notes.losses.clear()
    run_anew("lab", {"logging.log_every": 4})
    assert [(i, epoch) for i, epoch, _ in notes.losses] == [(4, 1), (8, 2), (10, 2)]
    for (_, _, losses), part in zip(notes.losses, (every[:4], every[4:8], every[8:]), strict=True):
        assert list(losses) == ["loss_D", "loss_G_GAN", "loss_G_L1"]
        for name, value in losses.items():
            assert value == pytest.approx(np.mean([one[name] for one in part]), rel=1e-5)


def test_validation_and_grids_come_when_due_and_at_the_end(write_arrays, run, notes) -> None:
    write_arrays("lab", train=4, val=3)
    run("lab", {"train.epochs": 7, "train.val_every": 3, "logging.sample_every": 2})
    assert notes.validated == [3, 6, 7]
    assert [(key, epoch) for key, epoch, _ in notes.grids] == [
        ("val/grid", epoch) for epoch in (0, 2, 4, 6, 7)
    ]
    assert len(notes.models) == 1


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_average_is_what_is_drawn_validated_and_kept(
    write_arrays, run, monkeypatch, decay
) -> None:
    """Or, without one, the generator itself."""
    write_arrays("lab")
    kept: list[dict[str, torch.Tensor]] = []
    seen: list[dict[str, torch.Tensor]] = []
    train_step = TrainingStep.train_step

    def observed_step(self: TrainingStep, *given: object) -> torch.Tensor:
        losses = train_step(self, *given)  # type: ignore[arg-type]
        network = self.average or self.generator
        kept.append({name: x.detach().clone() for name, x in network.named_parameters()})
        return losses

    def observed(call: Callable[..., object]) -> Callable[..., object]:
        def observe(*given: object) -> object:
            [model] = [one for one in given if isinstance(one, Model)]
            assert not model.generator.training
            seen.append({name: x.clone() for name, x in model.generator.named_parameters()})
            return call(*given)

        return observe

    monkeypatch.setattr(TrainingStep, "train_step", observed_step)
    monkeypatch.setattr(Validator, "__call__", observed(Validator.__call__))
    monkeypatch.setattr(trainer, "sample_grid", observed(sample_grid))
    run("lab", {"train.ema_decay": decay, "train.lr": 0.01, "logging.sample_every": 2})
    # The first grid, the validation after 2 iterations, the last validation and grid after 4.
    saved = load_file(paths.model("lab") / WEIGHTS)
    for found, expected in zip(seen[1:], (kept[1], kept[3], kept[3]), strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(torch.equal(saved[name], tensor) for name, tensor in kept[3].items())
