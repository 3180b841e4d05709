"""Batches: each photo once an epoch, in an order that seed and epoch alone decide."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from colorgan.data import loader
from colorgan.data.arrays import Split, open_split
from colorgan.data.loader import TrainingBatches, epoch_generator


@pytest.fixture
def split(write_arrays: Callable[..., Path]) -> Split:
    return open_split(write_arrays("lab", train=11), "train")


def batches(split: Split, epoch: int, seed: int = 1, workers: int = 0) -> list[loader.Batch]:
    return list(TrainingBatches(split, 4, seed, workers, False).epoch(epoch))


def photos(split: Split, some: list[loader.Batch]) -> list[int]:
    """Return which photos the batches hold, and that input and target are of the same one."""
    found = []
    for inputs, targets in some:
        for input, target in zip(inputs.numpy(), targets.numpy(), strict=True):
            [row] = [i for i in range(len(split)) if (split.input[i] == input).all()]
            assert (split.target[row] == target).all()
            found.append(row)
    return found


def test_whole_batches_of_bytes(split: Split) -> None:
    some = batches(split, 0)
    assert len(some) == len(TrainingBatches(split, 4, 1, 0, False)) == 2
    for input, target in some:
        assert (input.dtype, target.dtype) == (torch.uint8, torch.uint8)
        assert input.shape == (4, 32, 32)
        assert target.shape == (4, 32, 32, 2)


def test_each_photo_comes_once_an_epoch_at_most(split: Split) -> None:
    seen = set()
    for epoch in range(8):
        found = photos(split, batches(split, epoch))
        assert len(set(found)) == len(found) == 8
        seen |= set(found)
    # Those left out of the last, incomplete batch are others each time.
    assert seen == set(range(11))


def test_the_order_is_that_of_seed_and_epoch(split: Split) -> None:
    def order(epoch: int, seed: int) -> list[int]:
        return photos(split, batches(split, epoch, seed))

    assert order(3, 1) == order(3, 1)
    orders = {tuple(order(epoch, seed)) for epoch in range(3) for seed in (1, 2)}
    assert len(orders) == 6


def test_an_epoch_does_not_depend_on_those_before(split: Split) -> None:
    some = TrainingBatches(split, 4, 1, 0, False)
    for epoch in range(3):
        passed = list(some.epoch(epoch))
    assert photos(split, passed) == photos(split, batches(split, 2))


def test_workers_read_the_same_batches(split: Split) -> None:
    alone, helped = TrainingBatches(split, 4, 1, 0, False), TrainingBatches(split, 4, 1, 2, False)
    for epoch in range(2):
        for one, other in zip(alone.epoch(epoch), helped.epoch(epoch), strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_random_numbers_are_left_alone(split: Split, workers: int) -> None:
    """Dropout draws from them: num_workers must not change what is trained."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(split, 0, workers=workers)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_worker_that_is_spawned_can_be_given_its_work(split: Split) -> None:
    """As on macOS and Windows: all that it gets is pickled."""
    data_loader = TrainingBatches(split, 4, 1, 0, False)._loader
    fetch = pickle.loads(pickle.dumps((data_loader.dataset, data_loader.collate_fn)))
    input, _ = fetch[1](fetch[0].__getitems__([2, 5]))
    assert (input.numpy() == np.asarray(split.input[[2, 5]])).all()


def test_a_batch_may_be_written_to(split: Split) -> None:
    for input, target in batches(split, 0):
        input.zero_()
        target.zero_()
    assert split.input.any()


def test_random_numbers_of_an_epoch_are_its_own() -> None:
    draws = {
        float(torch.rand(1, generator=epoch_generator(seed, epoch, stream)))
        for seed in (0, 1, 1_000_000_000)
        for epoch in (0, 1, 10_000)
        for stream in (0, 1)
    }
    assert len(draws) == 18
