"""Batches: each photo once an epoch, in an order that seed and epoch alone decide."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from colorgan.data import loader
from colorgan.data.arrays import Split, open_split
from colorgan.data.loader import Batches
from colorgan.runs.runtime import Group

ALONE = Group()


@pytest.fixture
def split(write_arrays: Callable[..., Path]) -> Split:
    return open_split(write_arrays("lab", train=11), "train")


def batches(split: Split, epoch: int, seed: int = 1, workers: int = 0) -> list[loader.Batch]:
    return list(Batches(split, 4, seed, workers).epoch(epoch))


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
    assert len(some) == len(Batches(split, 4, 1)) == 2
    for input, target in some:
        assert (input.dtype, target.dtype) == (torch.uint8, torch.uint8)
        assert input.shape == (4, 32, 32)
        assert target.shape == (4, 32, 32, 2)


def test_each_photo_comes_once_an_epoch_in_an_order_of_seed_and_epoch(split: Split) -> None:
    orders = [photos(split, batches(split, epoch, seed)) for epoch in range(4) for seed in (1, 2)]
    assert all(len(set(order)) == len(order) == 8 for order in orders)
    assert len({tuple(order) for order in orders}) == 8
    # Those left out of the last, incomplete batch are others each time.
    assert set().union(*orders) == set(range(11))
    assert photos(split, batches(split, 3, 2)) == orders[-1]


def test_torchs_random_numbers_are_left_alone(split: Split) -> None:
    """Dropout draws from them: num_workers must not change what is trained."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(split, 0, workers=2)
    assert torch.equal(torch.get_rng_state(), before)


def alike(some: list[loader.Batch], others: list[loader.Batch]) -> bool:
    pairs = list(zip(some, others, strict=True))
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


KINDS: dict[str, Callable[..., loader.Batches]] = {
    "read": lambda split, group=ALONE: Batches(split, 4, 1, group=group),
    "workers": lambda split, group=ALONE: Batches(split, 4, 1, 2, group=group),
}


@pytest.mark.parametrize(("kind", "world_size"), [("read", 2), ("workers", 4)])
def test_the_parts_of_a_group_are_the_batches_of_one_process(split, kind, world_size) -> None:
    whole = batches(split, 3)
    of_ranks = []
    for rank in range(world_size):
        own = KINDS[kind](split, Group(rank, rank, world_size))
        assert len(own) == len(whole) == 2
        of_ranks.append(list(own.epoch(3)))
        assert all(len(input) == 4 // world_size for input, _ in of_ranks[-1])
    together = [
        (torch.cat([input for input, _ in parts]), torch.cat([target for _, target in parts]))
        for parts in zip(*of_ranks, strict=True)
    ]
    assert alike(together, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_goes_on_from_any_batch(write_arrays: Callable[..., Path], kind: str) -> None:
    split = open_split(write_arrays("lab", train=19), "train")
    some = KINDS[kind](split)
    whole = list(some.epoch(2))
    assert alike(whole, batches(split, 2))
    for start in range(len(some) + 1):
        assert alike(list(some.epoch(2, start)), whole[start:])
    # And the next one begins at its beginning.
    assert alike(list(some.epoch(3)), batches(split, 3))


SIGNALLED = """
import os, signal, threading
from pathlib import Path
from colorgan.data.arrays import open_split
from colorgan.data.loader import Batches
from colorgan.runs.stopping import StopSignal
split = open_split(Path("data/processed/lab"), "train")
for i in range(40):
    with StopSignal() as stop:
        some = Batches(split, 4, 1, num_workers=2)
        timer = threading.Timer(i / 1000, os.killpg, (0, signal.SIGTERM))
        timer.start()
        assert len(list(some.epoch(0))) == 2
        timer.join()
        assert stop.received
        del some
"""


@pytest.mark.slow
def test_a_signal_to_all_processes_ends_no_worker_that_just_starts(split: Split) -> None:
    """As a scheduler does it; a training without its workers cannot write a checkpoint."""
    command = [sys.executable, "-c", SIGNALLED]
    options = {"start_new_session": True, "stderr": subprocess.PIPE, "text": True, "timeout": 100}
    ended = subprocess.run(command, **options)
    assert ended.returncode == 0, ended.stderr
