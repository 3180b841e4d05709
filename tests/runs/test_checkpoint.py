"""A checkpoint holds all that a training needs; one that cannot be read or written is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from colorgan.errors import ColorganError
from colorgan.runs.checkpoint import Checkpoint, Checkpoints, Position
from colorgan.training.step import TrainingStep

MakeStep = Callable[..., TrainingStep]
Batch = Callable[..., tuple[Tensor, Tensor]]
# 64 px: the depth at which the U-Net drops out.
EVERYTHING = {
    "side": 64,
    "model__dropout": 0.5,
    "train__amp": "bf16",
    "train__ema_decay": 0.9,
}

CPU = torch.device("cpu")
PROJECTED = {"model__discriminator": "projected"}
# Nothing is known of an optimizer that has never updated.
JOINS_LATER = {"train__gan_start": 0.5, "per_epoch": 5}


def of(step: TrainingStep, position: Position) -> Checkpoint:
    return Checkpoint.of(step.stateful(), position)


def train(step: TrainingStep, batch: Batch, start: int, end: int) -> list[Tensor]:
    return [step.train_step(*batch(side=64), i) for i in range(start, end)]


def state(step: TrainingStep) -> dict[str, Tensor]:
    """Return all weights, running statistics and moments."""
    return of(step, Position()).tensors


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("changes", [{}, EVERYTHING, PROJECTED, JOINS_LATER], ids=len)
def test_what_goes_on_is_bit_identical(make_step, batch, tmp_path, changes) -> None:
    changes = {"side": 64, "model__dropout": 0.5} | changes
    step = make_step(**changes)
    losses = train(step, batch, 0, 3)
    of(step, Position(3, 1, losses[1:])).write(tmp_path / "checkpoint.safetensors")
    expected = torch.stack(train(step, batch, 3, 6))

    checkpoint = Checkpoint.read(tmp_path / "checkpoint.safetensors")
    again = make_step(**changes)
    assert not equal(state(again), state(step))
    torch.rand(7)
    position = checkpoint.restore(again.stateful(), CPU)
    assert (position.iteration, position.epoch) == (3, 1)
    assert torch.equal(torch.stack(position.since_log), torch.stack(losses[1:]))
    for name in ("optimizer_g", "optimizer_d"):
        # A moment in another layout than its weight's would be slower, or add up differently.
        for weight, own in getattr(again, name).state.items():
            assert own["exp_avg"].stride() == own["exp_avg_sq"].stride() == weight.stride()
    assert torch.equal(torch.stack(train(again, batch, 3, 6)), expected)
    assert equal(state(again), state(step))


# --- one that cannot be read ---


def test_cut_short_anywhere(make_step: MakeStep, batch: Batch, tmp_path: Path) -> None:
    step = make_step(side=64)
    train(step, batch, 0, 1)
    path = tmp_path / "checkpoint.safetensors"
    of(step, Position(1)).write(path)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for length in (0, 7, header // 2, header, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ColorganError) as said:
            Checkpoint.read(path)
        assert str(said.value).startswith(f"{path} is not a whole checkpoint (")
        assert "\n" not in str(said.value)


# --- when one is due ---


def test_due_every_few_minutes(make_step, tmp_path, monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr("colorgan.runs.checkpoint.time.monotonic", lambda: now)
    saved = Checkpoints(tmp_path / "checkpoint.safetensors", "train lab", 2)
    now += 119
    assert not saved.due()
    now += 1
    assert saved.due()
    saved.save(make_step().stateful(), Position(10))
    assert not saved.due()


# --- a full disk ---


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")]
)
def test_training_goes_on_though_its_checkpoints_do_not_fit(
    write_arrays, run, monkeypatch, capsys, error
) -> None:
    def full(*given: object) -> None:
        raise error

    monkeypatch.setattr("colorgan.runs.checkpoint.save_file", full)
    write_arrays("lab")
    run("lab", {"runtime.checkpoint_minutes": 0})
    (said,) = set(capsys.readouterr().err.splitlines())
    assert re.fullmatch(
        r"train lab: \S*checkpoint.safetensors could not be written \(.*No space left on device\); "
        "there is none yet",
        said,
    )
    assert Path("models/lab/generator.safetensors").exists()
    assert not list(Path().rglob("*.part"))
