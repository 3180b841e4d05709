"""The learning rate by its formula, and the moving average of the weights by a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import pytest
import torch
from torch import Tensor, nn

from colorgan.config import Params, TrainParams
from colorgan.training.optim import learning_rate
from colorgan.training.step import TrainingStep

PER_EPOCH = 5
State = dict[str, Tensor]


@pytest.fixture
def schedule(make_params: Callable[..., Params]) -> Callable[..., list[float]]:
    """Return a function that gives the learning rate of each iteration of a training at lr 1."""

    def rates(epochs: int, decay: int, name: str = "linear", warmup: int = 0) -> list[float]:
        train: TrainParams = make_params(
            {
                "train.lr": 1.0,
                "train.epochs": epochs,
                "train.decay_start": 1 - decay / epochs,
                "train.lr_schedule": name,
                "train.warmup_iterations": warmup,
            }
        ).rgb.train
        return [learning_rate(i, PER_EPOCH, train) for i in range(epochs * PER_EPOCH)]

    return rates


def test_linear_is_that_of_pix2pix(schedule: Callable[..., list[float]]) -> None:
    """100 epochs, then 100 with 1 - k / 101, the same throughout an epoch."""
    by_epoch = [1.0] * 100 + [1 - k / 101 for k in range(1, 101)]
    expected = [rate for rate in by_epoch for _ in range(PER_EPOCH)]
    assert schedule(200, 100) == pytest.approx(expected)
    assert schedule(3, 3)[::PER_EPOCH] == pytest.approx([3 / 4, 2 / 4, 1 / 4])


def test_cosine_falls_with_every_iteration(schedule: Callable[..., list[float]]) -> None:
    rates = schedule(6, 4, "cosine")
    assert rates[:10] == [1.0] * 10
    assert rates[10:] == pytest.approx([(1 + cos(pi * i / 20)) / 2 for i in range(20)])


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_warmup_multiplies_the_schedule(schedule: Callable[..., list[float]], name: str) -> None:
    warm, cold = schedule(4, 3, name, warmup=9), schedule(4, 3, name)
    rise = [(i + 1) / 10 for i in range(9)] + [1.0] * 11
    assert warm == pytest.approx([a * b for a, b in zip(rise, cold, strict=True)])


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


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_average_is_a_plain_loop_over_the_updates(
    make_step: Callable[..., TrainingStep],
    batch: Callable[..., tuple[Tensor, Tensor]],
    decay: float,
) -> None:
    # A large rate, so that the weights move by more than the tolerance.
    step = make_step(train__ema_decay=decay, train__lr=0.01)
    plain = make_step(train__lr=0.01)
    states = [state(step.generator)]
    for iteration in range(8):
        losses = step.train_step(*batch(), iteration)
        # Training itself does not depend on the average.
        assert torch.equal(losses, plain.train_step(*batch(), iteration))
        states.append(state(step.generator))
    kept = step.kept_generator()
    assert plain.kept_generator() is plain.generator
    assert kept is not step.generator
    expected = averaged(states, decay)
    for name, tensor in state(kept).items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=1e-5, msg=name)
    assert not any(weight.requires_grad for weight in kept.parameters())
