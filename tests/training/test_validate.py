"""Validation figures, sample grids, and the weights with the best score."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from colorgan import paths
from colorgan.config import Params
from colorgan.data.arrays import open_split
from colorgan.model import WEIGHTS, Model, build_generator
from colorgan.spaces import get_space
from colorgan.training.validate import BestWeights, Validator, best_of, sample_grid
from tiny_project import photo_arrays

Run = Callable[..., None]


@pytest.fixture
def model(make_params: Callable[..., Params]) -> Model:
    torch.manual_seed(0)
    space = get_space("rgb")
    generator = build_generator(space, make_params().rgb.model, 32).eval()
    return Model(generator, space, 32, "", torch.device("cpu"))


def test_validation_figures(model: Model, write_arrays: Callable[..., Path]) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    figures = Validator(split, 2, frechet=True)(model)
    assert figures == pytest.approx(Validator(split, 5, frechet=True)(model), rel=1e-3)
    (batch,) = model.colorize_split(split, 5)
    difference = batch.generated.astype(float) - split.target
    assert figures["l1"] == pytest.approx(np.abs(difference).mean(), rel=1e-3)
    mse = (difference**2).mean(axis=(1, 2, 3))
    assert figures["psnr"] == pytest.approx((10 * np.log10(255**2 / mse)).mean(), rel=1e-3)
    assert figures["colorfulness_gap"] < 0


def test_a_vivid_gain_stays_better_than_gray(model, real_photos, project, monkeypatch) -> None:
    """Of the true colours, and of those with their hues 60 degrees away."""
    lab = get_space("lab")
    photo_arrays(Path("lab"), "lab", real_photos, [""] * len(real_photos), "val")
    validator = Validator(open_split(Path("lab"), "val"), len(real_photos), frechet=False)
    _, true = lab.encode(*map(torch.from_numpy, lab.arrays(real_photos)))
    turned = 0.5 * true + 0.87 * torch.stack((-true[:, 1], true[:, 0]), dim=1)
    gains = []
    for ab in (true, turned):
        monkeypatch.setattr(Model, "predict", lambda *_, ab=ab: ab)
        painter = replace(model, space=lab)
        gains.append(validator.vivid_gain(painter) / validator(painter)["gain"])
    assert gains[0] == 1
    assert 0.3 < gains[1] < 0.7


def test_a_grid_shows_photos_from_all_over_the_split(model, write_arrays) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    sheet = np.asarray(sample_grid(model, split, 3))
    rows = sheet[-(3 * 36 + 4) :]
    for i, row in enumerate((0, 2, 4)):
        truth = rows[4 + 36 * i : 36 + 36 * i, 40:72]
        assert (truth == split.target[row]).all()
    assert sample_grid(model, split, 50).height > sheet.shape[0]


def test_of_about_equal_weights_the_most_natural_are_kept(tmp_path: Path) -> None:
    best = BestWeights(tmp_path / "best")
    assert not best.scores()
    scores = [(10.0, 50.0), (9.0, 49.0), (9.05, 40.0), (9.06, 45.0), (8.99, 60.0), (9.5, 1.0)]
    for epoch, (ecf, frechet) in enumerate(scores):
        figures = {"ciede2000_ecf": ecf, "frechet_ecf": frechet}
        best.offer({"x": torch.tensor([float(epoch)])}, f"epoch {epoch}", figures)
    again = BestWeights(tmp_path / "best")
    assert best_of(again.scores()) == "epoch 2"
    assert again.weights("epoch 2")["x"].item() == 2
    files = sorted(file.stem for file in (tmp_path / "best").iterdir())
    assert files == ["epoch 1", "epoch 2", "epoch 4"]


def test_the_earlier_of_two_alike_and_a_single_photo(tmp_path: Path) -> None:
    best = BestWeights(tmp_path / "best")
    for epoch in (1, 2):
        figures = {"ciede2000_ecf": 9.0, "frechet_ecf": float("nan")}
        best.offer({"x": torch.zeros(1)}, f"epoch {epoch}", figures)
    assert best_of(best.scores()) == "epoch 1"


@pytest.fixture
def own(write_arrays: Callable[..., Path], run_anew: Run) -> None:
    """The folder `own` with a model of lab, and arrays."""
    write_arrays("lab", train=8)
    run_anew("lab", {"train.epochs": 1})
    shutil.copytree(paths.model("lab"), "own")


def scripted(monkeypatch: pytest.MonkeyPatch, ecf: Sequence[float]) -> None:
    """Let validations find these figures, one after the other, then worse ones; NaN is Ctrl-C."""
    left = iter(ecf)

    def figures(self: Validator, model: Model) -> dict[str, float]:
        if np.isnan(found := next(left, 99.0)):
            os.kill(os.getpid(), signal.SIGINT)
        return {"ciede2000_ecf": found, "frechet_ecf": 1.0}

    monkeypatch.setattr(Validator, "__call__", figures)


def test_weights_that_came_are_kept_where_nothing_better_comes(
    own, run_anew, monkeypatch, capsys
) -> None:
    """From a model of one's own: the curve begins with it, at epoch 0; with its statistics."""
    scripted(monkeypatch, (0.5, 0.9, 0.8))
    changes = {"train.init": "own", "train.keep": "best"}
    run_anew("lab", {**changes, "train.ema_decay": 0.5})
    table = pd.read_csv(paths.validation("lab"))
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["ciede2000_ecf"].tolist() == [0.5, 0.9, 0.8]
    assert "keeps the weights of epoch 00000" in capsys.readouterr().out
    first, kept = (load_file(folder / WEIGHTS) for folder in (Path("own"), paths.model("lab")))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in first.items())


def test_training_keeps_the_best_epoch(write_arrays, run_anew, monkeypatch) -> None:
    write_arrays("lab", train=8)
    changes = {"train.epochs": 4, "train.decay_start": 1.0, "train.lr": 0.02}
    scripted(monkeypatch, (3, 1, 2, 4))
    run_anew("lab", {**changes, "train.keep": "best"})
    kept = load_file(paths.model("lab") / WEIGHTS)
    run_anew("lab", {**changes, "train.epochs": 2, "train.keep": "last"})
    then = load_file(paths.model("lab") / WEIGHTS)
    assert all(torch.equal(then[name], kept[name]) for name in then)
    assert not list(Path(".resume").rglob("best"))


def test_a_mix_with_the_initial_weights_is_kept_if_it_is_better_also_after_a_stop(
    own, run, run_anew, monkeypatch, capsys
) -> None:
    changes = {"train.init": "own", "train.keep": "best", "runtime.checkpoint_minutes": 60}
    # Epochs 0, 1 and 2, then shares of 25, 50 and 75%; stopped, the mixes come again.
    scripted(monkeypatch, (3, 2.5, 2, 1.5, 1, float("nan"), 1.5, 1, 2))
    with pytest.raises(KeyboardInterrupt):
        run_anew("lab", changes)
    run("lab", changes)
    assert "epoch 00002, 50% of the way from the initial weights" in capsys.readouterr().out
    mixed, first = (load_file(folder / WEIGHTS) for folder in (paths.model("lab"), Path("own")))
    run_anew("lab", {**changes, "train.keep": "last"})
    last = load_file(paths.model("lab") / WEIGHTS)
    for name, tensor in mixed.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, (first[name] + last[name]) / 2)


def test_the_gain_is_calibrated_and_kept(write_arrays: Callable[..., Path], run_anew: Run) -> None:
    write_arrays("lab", train=8, val=4)
    gains = []
    for calibrate in (False, True):
        run_anew("lab", {"train.calibrate_gain": calibrate})
        gains.append(Model.load(paths.model("lab")).gain)
    assert gains[0] == 1
    assert 0 <= gains[1] <= 4
    assert gains[1] != 1
