"""Validation figures, sample grids, and the weights with the best score."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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
from colorgan.training import trainer
from colorgan.training.validate import BestWeights, sample_grid, validate

Run = Callable[..., None]


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


def test_leaving_photos_gray_scores_one_and_a_half(write_arrays: Callable[..., Path]) -> None:
    split = open_split(write_arrays("rgb", val=5), "val")
    gray = Model(torch.nn.Identity(), get_space("rgb"), 32, "", torch.device("cpu"))
    figures = validate(gray, split, 2)
    assert figures["score"] == pytest.approx(1.5, abs=1e-3)
    assert figures["ciede2000"] > 10


def network(value: float) -> torch.nn.Module:
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(layer.weight, value)
    return layer


def test_the_lowest_score_is_kept_the_earlier_of_two(tmp_path: Path) -> None:
    best = BestWeights(tmp_path / "best.safetensors")
    for epoch, score in ((1, 1.5), (2, 1.2), (3, 1.2), (4, 1.9)):
        best.offer(network(epoch), epoch, score)
    taken = network(0)
    assert BestWeights(tmp_path / "best.safetensors").restore(taken) == (2, 1.2)
    assert taken.weight.unique().item() == 2


def test_weights_that_came_are_kept_where_nothing_better_comes(
    write_arrays: Callable[..., Path],
    run_anew: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From a model of one's own: the curve begins with it, at epoch 0; with its statistics."""
    write_arrays("lab", train=8)
    run_anew("lab", {"train.epochs": 1})
    shutil.copytree(paths.model("lab"), "own")
    scores = iter((0.5, 0.9, 0.8))
    monkeypatch.setattr(trainer, "validate", lambda *given: {"score": next(scores)})
    changes = {"train.init": "own", "train.keep": "best", "runtime.progress": "lines"}
    run_anew("lab", {**changes, "train.ema_decay": 0.5})
    table = pd.read_csv(paths.validation("lab"))
    assert table.to_dict("list") == {"epoch": [0, 1, 2], "score": [0.5, 0.9, 0.8]}
    assert "keeps the weights of epoch 0, score 0.500" in capsys.readouterr().out
    first, kept = (load_file(folder / WEIGHTS) for folder in (Path("own"), paths.model("lab")))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in first.items())


def test_training_keeps_the_epoch_with_the_best_score(
    write_arrays: Callable[..., Path],
    run_anew: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_arrays("lab", train=8)
    changes = {"train.epochs": 4, "train.decay_epochs": 0, "train.lr": 0.02}
    kept = {}
    for keep in ("last", "best"):
        run_anew("lab", {**changes, "train.keep": keep, "runtime.progress": "lines"})
        kept[keep] = load_file(paths.model("lab") / WEIGHTS)
    scores = pd.read_csv(paths.validation("lab")).set_index("epoch")["score"]
    assert f"keeps the weights of epoch {scores.idxmin()}, score" in capsys.readouterr().out
    same = all(torch.equal(kept["last"][name], kept["best"][name]) for name in kept["last"])
    assert same == (scores.idxmin() == 4)
    run_anew("lab", {**changes, "train.epochs": int(scores.idxmin()), "train.keep": "last"})
    then = load_file(paths.model("lab") / WEIGHTS)
    assert all(torch.equal(then[name], kept["best"][name]) for name in then)
    assert not list(Path(".resume").rglob("best.safetensors"))
