"""Batches of a split, shuffled by seed and epoch: the DataLoader of a training.

Every random number of a training is a function of the seed and of a place in it (an epoch, an
iteration), never of what was drawn before. So a resumed training needs no state of random number
generators, and neither the number of workers nor that of devices changes a draw.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from colorgan.data.arrays import Split
from colorgan.runs.runtime import Group

Batch = tuple[Tensor, Tensor]
"""`(input (n, H, W), target (n, H, W, C))`, uint8: a quarter of the bytes of floats to copy."""


class _Photos(Dataset[Batch]):
    """A split as a Dataset whose items are whole batches."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitem__(self, rows: list[int]) -> Batch:
        input, target = self._split.input[rows], self._split.target[rows]
        self._split.release()
        return torch.from_numpy(input), torch.from_numpy(target)


class Batches:
    """The training batches of one process of a group: n = batch_size / world_size photos each.

    Whole batches in a new order each epoch, the last incomplete one dropped. Which photos make a
    batch is a function of seed and epoch alone; each process takes its own part of every batch.
    They are read from the memory-mapped arrays, by `num_workers` processes unless that is 0, and
    with `pin_memory` into page-locked memory, from which a copy to a GPU does not block.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, num_workers: int = 0,
        pin_memory: bool = False, group: Group = Group(),  # noqa: B008 (it is frozen)
    ) -> None:  # fmt: skip
        self._n_photos, self._batch_size, self._seed = len(split), batch_size, seed
        self._group = group
        self._rows: list[list[int]] = []
        self._loader: DataLoader[Batch] = DataLoader(
            _Photos(split),
            batch_size=None,
            sampler=self._rows,
            num_workers=num_workers,
            worker_init_fn=_ignore_signals,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            # By default it draws seeds from torch's global generator, which dropout uses too:
            # dropout would then differ with num_workers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same for every process."""
        return self._n_photos // self._batch_size

    def rows(self, epoch: int, start: int) -> list[list[int]]:
        """Return the row numbers of this process's batches, beginning with batch `start`."""
        order = torch.randperm(self._n_photos, generator=random_of(self._seed, epoch, ORDER))
        batches = order[: len(self) * self._batch_size].view(-1, self._batch_size)[start:]
        share = self._batch_size // self._group.world_size
        own: list[list[int]] = batches[:, self._group.rank * share :][:, :share].tolist()
        return own

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 0, beginning with batch `start`."""
        # In place: the workers stay, and with them the loader and its sampler.
        self._rows[:] = self.rows(number, start)
        with _signals_held_back():
            batches = iter(self._loader)
        yield from batches


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the workers started here can ignore them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_signals(worker: int) -> None:  # noqa: ARG001
    """Ignore Ctrl-C and SIGTERM in a worker: a terminal sends them to the whole process group.

    The trainer still needs batches to finish its iteration; it ends its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


ORDER, AUGMENTATION, HINTS, DROPOUT = 0, 1, 2, 4096
"""What random numbers are used for; dropout has the uses from DROPOUT on, one a process."""


def random_of(seed: int, place: int, use: int) -> torch.Generator:
    """Return a random number generator for one use at one place of a training; see `seed_of`."""
    return torch.Generator().manual_seed(seed_of(seed, place, use))


def seed_of(seed: int, place: int, use: int) -> int:
    """Return the seed for one use at one place of a training (an epoch, an iteration)."""
    # The factors only keep neighbouring seeds and places apart.
    return (seed * 1_000_003 + place) * 8191 + use
