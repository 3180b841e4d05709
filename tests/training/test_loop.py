"""The learning rate, what is logged when, and validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from colorgan import paths
from colorgan.colorizer import Colorizer, build_generator
from colorgan.data.arrays import open_split
from colorgan.params import Params
from colorgan.spaces import get_space
from colorgan.tracking.recorder import Recorder
from colorgan.training import train as stage
from colorgan.training.loop import lr_factor
from colorgan.training.progress import training_progress
from colorgan.training.step import Pix2Pix
from colorgan.training.validate import sample_grid, validate


class Notes:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.losses: list[tuple[int, int, dict[str, float]]] = []
        self.validated: list[int] = []
        self.grids: list[tuple[str, int, Image.Image]] = []
        self.models: list[str] = []

    def log_losses(self, iteration: int, epoch: int, losses: dict[str, float]) -> None:
        self.losses.append((iteration, epoch, losses))

    def log_validation(self, epoch: int, metrics: dict[str, float]) -> None:
        self.validated.append(epoch)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        self.grids.append((key, epoch, picture))

    def log_model(self, folder: Path, sha256: str) -> None:
        self.models.append(sha256)

    def close(self, status: str) -> None:
        assert status == "FINISHED"


@pytest.fixture
def notes(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Notes:
    notes = Notes()
    monkeypatch.setattr(stage, "open_recorder", lambda described: Recorder(notes))
    return notes


def test_the_learning_rate_is_constant_then_falls(make_params: Callable[..., Params]) -> None:
    """As pix2pix: 100 epochs, then 100 with 1 - k / 101."""
    train = make_params({"train.epochs": 200, "train.decay_epochs": 100}).rgb.train
    factors = [lr_factor(epoch, train) for epoch in range(200)]
    assert factors[:100] == [1.0] * 100
    assert factors[100:] == pytest.approx([1 - k / 101 for k in range(1, 101)])


@pytest.mark.parametrize(
    ("epochs", "decay", "factors"),
    [
        (3, 0, [1, 1, 1]),
        (3, 1, [1, 1, 1 / 2]),
        (3, 3, [3 / 4, 2 / 4, 1 / 4]),
    ],
)
def test_any_share_of_the_epochs_may_decay(
    make_params: Callable[..., Params], epochs: int, decay: int, factors: list[float]
) -> None:
    train = make_params({"train.epochs": epochs, "train.decay_epochs": decay}).rgb.train
    assert [lr_factor(epoch, train) for epoch in range(epochs)] == pytest.approx(factors)


def test_both_optimizers_follow_it(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_arrays("lab", train=8, val=0)
    rates: list[tuple[float, float]] = []
    train_step = Pix2Pix.train_step

    def observed(self: Pix2Pix, *batch: torch.Tensor) -> object:
        optimizers = self.optimizer_g, self.optimizer_d
        rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers))  # type: ignore[arg-type]
        return train_step(self, *batch)

    monkeypatch.setattr(Pix2Pix, "train_step", observed)
    run("lab", {"train.epochs": 3, "train.decay_epochs": 2, "train.lr": 0.3})
    expected = [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
    assert rates == [pytest.approx((rate, rate)) for rate in expected]


def test_losses_are_logged_every_so_often_and_at_the_end(
    write_arrays: Callable[..., Path], run: Callable[..., None], notes: Notes
) -> None:
    """Five batches an epoch, two epochs: means over 4, 4 and the last 2 iterations."""
    write_arrays("lab", train=20, val=0)
    run("lab", {"train.log_every": 1})
    every = [losses for _, _, losses in notes.losses]
    assert [(i, epoch) for i, epoch, _ in notes.losses] == [(i, 1 + (i > 5)) for i in range(1, 11)]
    notes.losses.clear()
    run("lab", {"train.log_every": 4})
    assert [(i, epoch) for i, epoch, _ in notes.losses] == [(4, 1), (8, 2), (10, 2)]
    for (_, _, losses), part in zip(notes.losses, (every[:4], every[4:8], every[8:]), strict=True):
        assert list(losses) == ["loss_D", "loss_G_GAN", "loss_G_L1"]
        for name, value in losses.items():
            assert value == pytest.approx(np.mean([one[name] for one in part]), rel=1e-5)


def test_validation_and_grids_come_when_due_and_at_the_end(
    write_arrays: Callable[..., Path], run: Callable[..., None], notes: Notes
) -> None:
    write_arrays("lab", train=4, val=3)
    run("lab", {"train.epochs": 7, "train.val_every": 3, "train.sample_every": 2})
    assert notes.validated == [3, 6, 7]
    assert [(key, epoch) for key, epoch, _ in notes.grids] == [
        ("val/grid", epoch) for epoch in (0, 2, 4, 6, 7)
    ]
    assert len(notes.models) == 1


def test_without_validation_photos_there_is_none(
    write_arrays: Callable[..., Path], run: Callable[..., None], notes: Notes
) -> None:
    write_arrays("lab", train=4, val=0)
    run("lab")
    assert not notes.validated
    assert not notes.grids
    assert len(notes.models) == 1


def test_validation_does_not_change_the_training(
    write_arrays: Callable[..., Path], run: Callable[..., None]
) -> None:
    weights = []
    write_arrays("lab", train=8, val=3, side=64)
    for every in (1, 2):
        run("lab", {"lab.image_size": 64, "train.val_every": every, "train.sample_every": every})
        weights.append((paths.model("lab") / "generator.safetensors").read_bytes())
        assert len(pd.read_csv(paths.validation("lab"))) == 2 // every
    assert weights[0] == weights[1]


@pytest.fixture
def colorizer(make_params: Callable[..., Params]) -> Colorizer:
    torch.manual_seed(0)
    space = get_space("rgb")
    generator = build_generator(space, make_params().rgb.model, 32).eval()
    return Colorizer(generator, space, 32, "", torch.device("cpu"))


def test_validation_figures(colorizer: Colorizer, write_arrays: Callable[..., Path]) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    figures = validate(colorizer, split, 2)
    assert figures == pytest.approx(validate(colorizer, split, 5), rel=1e-3)
    generated = colorizer.colorize_batch(torch.from_numpy(split.input[:].copy())).numpy()
    difference = generated.astype(float) - split.target
    assert figures["l1"] == pytest.approx(np.abs(difference).mean(), rel=1e-3)
    mse = (difference**2).mean(axis=(1, 2, 3))
    assert figures["psnr"] == pytest.approx((10 * np.log10(255**2 / mse)).mean(), rel=1e-3)
    assert figures["colorfulness_gap"] < 0


def test_a_grid_shows_photos_from_all_over_the_split(
    colorizer: Colorizer, write_arrays: Callable[..., Path]
) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    sheet = np.asarray(sample_grid(colorizer, split, 3))
    rows = sheet[-(3 * 36 + 4) :]
    for i, row in enumerate((0, 2, 4)):
        truth = rows[4 + 36 * i : 36 + 36 * i, 40:72]
        assert (truth == split.target[row]).all()
    assert sample_grid(colorizer, split, 50).height > sheet.shape[0]


def test_progress_in_a_log_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress("lines", "train lab", 10, 2, 4) as progress:
        for iteration in (1, 5, 10):
            progress.update(iteration, 1, {"loss_D": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train lab: epoch 1/2, iteration 1/10, loss_D 0.500"
    assert lines[-1].startswith("train lab: epoch 1/2, iteration 10/10, loss_D 0.500, ")
    assert "images/s, 0.0 min left" in lines[-1]
    assert len(lines) == 2


@pytest.mark.parametrize("name", ["auto", "bar", "lines", "none"])
def test_every_progress_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with training_progress(name, "train lab", 2, 1, 4) as progress:  # type: ignore[arg-type]
        progress.update(1, 1, {"loss_D": 0.5})
        progress.update(2, 1, {"loss_D": 0.5})
    out, err = capsys.readouterr()
    assert bool(out + err) == (name != "none")
