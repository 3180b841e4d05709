"""The best weights by score, and the epochs in which the generator learns alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from colorgan import paths
from colorgan.model import WEIGHTS
from colorgan.training import trainer
from colorgan.training.selection import BestWeights
from colorgan.training.step import Pix2Pix

Run = Callable[..., None]


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


def test_without_a_validation_there_is_none(tmp_path: Path) -> None:
    best = BestWeights(tmp_path / "best.safetensors")
    assert best.restore(network(0)) is None
    (tmp_path / "best.safetensors").write_bytes(b"cut short")
    assert best.restore(network(0)) is None
    best.offer(network(1), 1, 1.0)
    best.forget()
    assert best.restore(network(0)) is None


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_weights_that_came_are_kept_where_nothing_better_comes(
    ema_decay: float,
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
    run_anew("lab", {**changes, "train.ema_decay": ema_decay})
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


def test_the_discriminator_joins_after_the_first_epochs(
    make_step: Callable[..., Pix2Pix], batch: Callable[..., tuple[torch.Tensor, torch.Tensor]]
) -> None:
    step = make_step(train__pretrain_epochs=1, iterations=2)
    weights = {k: v.clone() for k, v in step.discriminator.state_dict().items()}
    before = [p.clone() for p in step.generator.parameters()]
    for iteration in range(2):
        loss_d, loss_gan, loss_l1 = step.train_step(*batch(), iteration).tolist()
        assert (loss_d, loss_gan) == (0, 0)
        assert loss_l1 > 0
    after = step.discriminator.state_dict()
    assert all(torch.equal(after[name], weights[name]) for name in weights)
    assert not any(map(torch.equal, before, step.generator.parameters()))
    assert step.train_step(*batch(), 2)[:2].min() > 0
    assert not torch.equal(
        next(iter(step.discriminator.state_dict().values())), next(iter(weights.values()))
    )
