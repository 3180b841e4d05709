"""What is logged when, validation, and the random numbers of an iteration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from colorgan import paths
from colorgan.config import Params
from colorgan.data.arrays import Split, open_split
from colorgan.data.loader import Batch
from colorgan.model import Model, build_generator
from colorgan.runs.checkpoint import Position
from colorgan.runs.runtime import Group
from colorgan.runs.stopping import StopSignal
from colorgan.spaces import get_space
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from colorgan.training import trainer
from colorgan.training.progress import training_progress
from colorgan.training.step import Pix2Pix
from colorgan.training.trainer import Trainer
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
    notes, to_csv = Notes(), stage.open_recorder

    def recorder(described: RunDescription) -> Recorder:
        return Recorder(notes, *to_csv(described)._sinks)

    monkeypatch.setattr(stage, "open_recorder", recorder)
    return notes


def test_both_optimizers_follow_it(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_arrays("lab", train=8, val=0)
    rates: list[tuple[float, float]] = []
    train_step = Pix2Pix.train_step

    def observed(self: Pix2Pix, *given: object) -> torch.Tensor:
        optimizers = self.optimizer_g, self.optimizer_d
        rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in optimizers))  # type: ignore[arg-type]
        return train_step(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Pix2Pix, "train_step", observed)
    run("lab", {"train.epochs": 3, "train.decay_epochs": 2, "train.lr": 0.3})
    expected = [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
    assert rates == [pytest.approx((rate, rate)) for rate in expected]


def test_losses_are_logged_every_so_often_and_at_the_end(
    write_arrays: Callable[..., Path], run: Callable[..., None], notes: Notes
) -> None:
    """Five batches an epoch, two epochs: means over 4, 4 and the last 2 iterations."""
    write_arrays("lab", train=20, val=0)
    run("lab", {"logging.log_every": 1})
    every = [losses for _, _, losses in notes.losses]
    assert [(i, epoch) for i, epoch, _ in notes.losses] == [(i, 1 + (i > 5)) for i in range(1, 11)]
    notes.losses.clear()
    shutil.rmtree(".resume")
    run("lab", {"logging.log_every": 4})
    assert [(i, epoch) for i, epoch, _ in notes.losses] == [(4, 1), (8, 2), (10, 2)]
    for (_, _, losses), part in zip(notes.losses, (every[:4], every[4:8], every[8:]), strict=True):
        assert list(losses) == ["loss_D", "loss_G_GAN", "loss_G_L1"]
        for name, value in losses.items():
            assert value == pytest.approx(np.mean([one[name] for one in part]), rel=1e-5)


def test_validation_and_grids_come_when_due_and_at_the_end(
    write_arrays: Callable[..., Path], run: Callable[..., None], notes: Notes
) -> None:
    write_arrays("lab", train=4, val=3)
    run("lab", {"train.epochs": 7, "train.val_every": 3, "logging.sample_every": 2})
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
    write_arrays: Callable[..., Path], run_anew: Callable[..., None]
) -> None:
    weights = []
    write_arrays("lab", train=8, val=3, side=64)
    for every in (1, 2):
        run_anew(
            "lab", {"lab.image_size": 64, "train.val_every": every, "logging.sample_every": every}
        )
        weights.append((paths.model("lab") / "generator.safetensors").read_bytes())
        assert len(pd.read_csv(paths.validation("lab"))) == 2 // every
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("asked", "rows"), [(0, [0, 1, 2, 3, 4]), (3, [0, 2, 4]), (9, [*range(5)])]
)
def test_so_many_validation_photos_from_all_over_the_split(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    asked: int,
    rows: list[int],
) -> None:
    val = open_split(write_arrays("lab", train=4, val=5), "val")
    used: list[Split] = []

    def observed(model: Model, split: Split, *given: object) -> dict[str, float]:
        used.append(split)
        return validate(model, split, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "validate", observed)
    run("lab", {"train.val_photos": asked})
    assert len(used) == 2
    for split in used:
        assert (split.input == val.input[rows]).all()
        assert (split.target == val.target[rows]).all()


@pytest.fixture
def make_trainer(
    make_params: Callable[..., Params], make_step: Callable[..., Pix2Pix]
) -> Callable[..., Trainer]:
    """Return a function that makes a trainer of one process of a group; it has no photos."""

    def make(rank: int = 0, world_size: int = 1) -> Trainer:
        params = make_params({"train.jitter": 0.2, "train.noise": 0.1})
        step = make_step()
        group = Group(rank, rank, world_size)
        step = replace(step, runtime=replace(step.runtime, group=group))
        lab = get_space("lab")
        progress = training_progress("none", "", 1, 1, 1)
        return Trainer(
            lab, params.lab.train, params.logging, step, [], None, 32,  # type: ignore[arg-type]
            Recorder(), progress, Position(), None, StopSignal(),
        )  # fmt: skip

    return make


@pytest.fixture
def bytes_of_photos() -> Batch:
    random = torch.Generator().manual_seed(5)
    input = torch.randint(0, 256, (8, 32, 32), generator=random, dtype=torch.uint8)
    return input, torch.randint(0, 256, (8, 32, 32, 2), generator=random, dtype=torch.uint8)


def test_an_iteration_has_the_same_flips_and_crops_whatever_ran_before(
    make_trainer: Callable[..., Trainer], bytes_of_photos: Batch
) -> None:
    first = make_trainer().prepare(bytes_of_photos, 5)
    other = make_trainer()
    torch.manual_seed(3)
    for iteration in (0, 7):
        other.prepare(bytes_of_photos, iteration)
    again = other.prepare(bytes_of_photos, 5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other.prepare(bytes_of_photos, 6)[0])


def test_a_group_flips_and_crops_as_one_process(
    make_trainer: Callable[..., Trainer], bytes_of_photos: Batch
) -> None:
    whole = make_trainer().prepare(bytes_of_photos, 5)
    parts = []
    for rank in range(4):
        share = slice(2 * rank, 2 * rank + 2)
        own = bytes_of_photos[0][share], bytes_of_photos[1][share]
        parts.append(make_trainer(rank, 4).prepare(own, 5))
    for all_of_it, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(all_of_it, torch.cat(shares))


@pytest.mark.parametrize("channels_last", [True, False])
def test_batches_are_laid_out_as_asked_for(
    make_trainer: Callable[..., Trainer], bytes_of_photos: Batch, channels_last: bool
) -> None:
    trainer = make_trainer()
    train = trainer.train.model_copy(update={"channels_last": channels_last})
    _, target = replace(trainer, train=train).prepare(bytes_of_photos, 0)
    assert target.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert target.is_contiguous() is not channels_last


@pytest.fixture
def model(make_params: Callable[..., Params]) -> Model:
    torch.manual_seed(0)
    space = get_space("rgb")
    generator = build_generator(space, make_params().rgb.model, 32).eval()
    return Model(generator, space, 32, "", torch.device("cpu"))


def test_validation_figures(model: Model, write_arrays: Callable[..., Path]) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    figures = validate(model, split, 2)
    assert figures == pytest.approx(validate(model, split, 5), rel=1e-3)
    generated = model.colorize_batch(torch.from_numpy(split.input[:].copy())).numpy()
    difference = generated.astype(float) - split.target
    assert figures["l1"] == pytest.approx(np.abs(difference).mean(), rel=1e-3)
    mse = (difference**2).mean(axis=(1, 2, 3))
    assert figures["psnr"] == pytest.approx((10 * np.log10(255**2 / mse)).mean(), rel=1e-3)
    assert figures["colorfulness_gap"] < 0


def test_a_grid_shows_photos_from_all_over_the_split(
    model: Model, write_arrays: Callable[..., Path]
) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    sheet = np.asarray(sample_grid(model, split, 3))
    rows = sheet[-(3 * 36 + 4) :]
    for i, row in enumerate((0, 2, 4)):
        truth = rows[4 + 36 * i : 36 + 36 * i, 40:72]
        assert (truth == split.target[row]).all()
    assert sample_grid(model, split, 50).height > sheet.shape[0]


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


def test_leaving_photos_gray_scores_one_and_a_half(write_arrays: Callable[..., Path]) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    gray = Model(torch.nn.Identity(), get_space("rgb"), 32, "", torch.device("cpu"))
    figures = validate(gray, split, 2)
    assert figures["score"] == pytest.approx(1.5, abs=1e-3)
    assert figures["ciede2000"] > 10
