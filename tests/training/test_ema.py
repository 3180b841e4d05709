"""The moving average of the generator, held against a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from colorgan import paths
from colorgan.data.arrays import Split
from colorgan.model import Model
from colorgan.training import trainer
from colorgan.training.ema import WeightAverage
from colorgan.training.step import Pix2Pix

State = dict[str, Tensor]


def state(network: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def averaged(states: list[State], decay: float) -> State:
    """Average states, the first of them before any update; buffers are those of the last."""
    average = dict(states[0])
    for iteration, present in enumerate(states[1:]):
        share = min(decay, (iteration + 1) / (iteration + 10))
        for name, tensor in present.items():
            if name.endswith(("weight", "bias")):
                average[name] = share * average[name] + (1 - share) * tensor
            else:
                average[name] = tensor
    return average


def assert_close(some: State, others: State) -> None:
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        torch.testing.assert_close(tensor, others[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_it_is_a_plain_loop_over_the_updates(
    make_step: Callable[..., Pix2Pix], batch: Callable[..., tuple[Tensor, Tensor]], decay: float
) -> None:
    # A large rate, so that the weights move by more than the tolerance.
    step = make_step(train__ema_decay=decay, train__lr=0.01)
    states = [state(step.generator)]
    for iteration in range(8):
        step.train_step(*batch(), iteration)
        states.append(state(step.generator))
    kept = step.kept_generator()
    assert kept is not step.generator
    assert_close(state(kept), averaged(states, decay))
    assert not any(weight.requires_grad for weight in kept.parameters())


def test_running_statistics_are_those_of_the_network(
    make_step: Callable[..., Pix2Pix], batch: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    step = make_step(train__ema_decay=0.9)
    for iteration in range(3):
        step.train_step(*batch(), iteration)
    buffers = dict(step.generator.named_buffers())
    assert len(buffers) > 5
    for name, buffer in step.kept_generator().named_buffers():
        assert torch.equal(buffer, buffers[name]), name
        assert buffer is not buffers[name]


def test_the_average_of_what_does_not_move_is_itself() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(network, 0.5)
    for iteration in range(20):
        average.update(iteration)
    assert all(map(torch.equal, network.parameters(), average.network.parameters()))


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """The generator before and after each update of a training."""
    seen: list[State] = []
    train_step = Pix2Pix.train_step

    def observed(self: Pix2Pix, *given: object) -> Tensor:
        if not seen:
            seen.append(state(self.generator))
        losses = train_step(self, *given)  # type: ignore[arg-type]
        seen.append(state(self.generator))
        return losses

    monkeypatch.setattr(Pix2Pix, "train_step", observed)
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_what_is_validated_and_kept(
    write_arrays: Callable[..., Path],
    run: Callable[..., None],
    states: list[State],
    monkeypatch: pytest.MonkeyPatch,
    decay: float,
) -> None:
    """The average, or without one the weights themselves."""
    write_arrays("lab")
    validated: list[tuple[int, State]] = []
    drawn: list[State] = []
    validate, sample_grid = trainer.validate, trainer.sample_grid

    def observe_figures(model: Model, split: Split, *given: object) -> dict[str, float]:
        assert not model.generator.training
        validated.append((len(states), state(model.generator)))
        return validate(model, split, *given)  # type: ignore[arg-type]

    def observe_grid(model: Model, split: Split, n_photos: int) -> object:
        drawn.append(state(model.generator))
        return sample_grid(model, split, n_photos)

    monkeypatch.setattr(trainer, "validate", observe_figures)
    monkeypatch.setattr(trainer, "sample_grid", observe_grid)
    run("lab", {"train.ema_decay": decay, "train.lr": 0.01, "logging.sample_every": 2})
    assert [n for n, _ in validated] == [3, 5]
    for n, found in validated:
        assert_close(found, averaged(states[:n], decay))
    assert_close(drawn[0], states[0])
    assert_close(drawn[-1], validated[-1][1])
    assert_close(load_file(paths.model("lab") / "generator.safetensors"), validated[-1][1])


def test_the_training_itself_does_not_know_of_it(
    write_arrays: Callable[..., Path], run: Callable[..., None], states: list[State]
) -> None:
    write_arrays("lab", side=64)
    ends, curves = [], []
    for decay in (0.0, 0.9):
        states.clear()
        run("lab", {"lab.image_size": 64, "train.ema_decay": decay})
        ends.append(states[-1])
        curves.append(pd.read_csv(paths.losses("lab")))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert curves[0].equals(curves[1])
