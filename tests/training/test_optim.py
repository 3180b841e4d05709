"""The learning rate by its formula."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import pytest

from colorgan.config import Params, TrainParams
from colorgan.training.optim import lr_factor

PER_EPOCH = 5


@pytest.fixture
def schedule(make_params: Callable[..., Params]) -> Callable[..., list[float]]:
    """Return a function that gives the factor of each iteration of a training."""

    def factors(epochs: int, decay: int, name: str = "linear", warmup: int = 0) -> list[float]:
        train: TrainParams = make_params(
            {
                "train.epochs": epochs,
                "train.decay_epochs": decay,
                "train.lr_schedule": name,
                "train.warmup_iterations": warmup,
            }
        ).rgb.train
        return [lr_factor(i, PER_EPOCH, train) for i in range(epochs * PER_EPOCH)]

    return factors


def test_linear_is_that_of_pix2pix(schedule: Callable[..., list[float]]) -> None:
    """100 epochs, then 100 with 1 - k / 101, the same throughout an epoch."""
    factors = schedule(200, 100)
    by_epoch = [1.0] * 100 + [1 - k / 101 for k in range(1, 101)]
    assert factors == pytest.approx([factor for factor in by_epoch for _ in range(PER_EPOCH)])


@pytest.mark.parametrize(
    ("epochs", "decay", "by_epoch"),
    [
        (3, 0, [1, 1, 1]),
        (3, 1, [1, 1, 1 / 2]),
        (3, 3, [3 / 4, 2 / 4, 1 / 4]),
    ],
)
def test_any_share_of_the_epochs_may_decay(
    schedule: Callable[..., list[float]], epochs: int, decay: int, by_epoch: list[float]
) -> None:
    assert schedule(epochs, decay)[::PER_EPOCH] == pytest.approx(by_epoch)


def test_cosine_falls_with_every_iteration(schedule: Callable[..., list[float]]) -> None:
    factors = schedule(6, 4, "cosine")
    assert factors[:10] == [1.0] * 10
    assert factors[10:] == pytest.approx([(1 + cos(pi * i / 20)) / 2 for i in range(20)])
    assert factors[10] == 1
    assert factors[20] == pytest.approx(0.5)
    assert 0 < factors[-1] < 0.01


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_without_decay_it_is_constant(schedule: Callable[..., list[float]], name: str) -> None:
    assert schedule(3, 0, name) == [1.0] * 15


def test_constant_does_not_fall_whatever_may_decay(schedule: Callable[..., list[float]]) -> None:
    assert schedule(4, 4, "constant") == [1.0] * 20


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
def test_it_rises_to_where_it_would_be(schedule: Callable[..., list[float]], name: str) -> None:
    """Also where the rise reaches into the fall: the one is multiplied by the other."""
    warm, cold = schedule(4, 3, name, warmup=9), schedule(4, 3, name)
    rise = [(i + 1) / 10 for i in range(9)] + [1.0] * 11
    assert warm == pytest.approx([a * b for a, b in zip(rise, cold, strict=True)])
