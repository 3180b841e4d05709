"""Batches of a split, shuffled by seed and epoch: the DataLoader of a training.

Every random number of a training is a function of the seed and of a place in it (an epoch, an
iteration), never of what was drawn before. So a resumed training needs no state of random number
generators, and neither the number of workers nor that of devices changes a draw.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from colorgan.data.arrays import Split
from colorgan.runs.runtime import Group

Batch = tuple[Tensor, Tensor]
"""`(input (n, H, W), target (n, H, W, C))`, uint8: a quarter of the bytes of floats to copy."""

PIECE = 64 << 20
"""Bytes that are copied to a device at once."""


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
    They are read from the memory-mapped arrays, by `num_workers` processes unless that is 0.
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


class DeviceBatches(Batches):
    """Batches of arrays that lie whole in the memory of a device."""

    def __init__(
        self, split: Split, batch_size: int, seed: int, device: torch.device, group: Group
    ) -> None:
        super().__init__(split, batch_size, seed, group=group)
        self._input = _on_device(split.input, device)
        self._target = _on_device(split.target, device)
        split.release()

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, cut out on the device."""
        # The order of the whole epoch goes to the device at once: later copies would each wait.
        batches = torch.tensor(self.rows(number, start), dtype=torch.int64)
        for rows in batches.to(self._input.device):
            yield self._input.index_select(0, rows), self._target.index_select(0, rows)


def _on_device(array: np.ndarray[Any, np.dtype[np.uint8]], device: torch.device) -> Tensor:
    """Copy a memory map to a device in pieces, so that the host never holds it whole."""
    whole = torch.empty(array.shape, dtype=torch.uint8, device=device)
    rows = max(1, PIECE // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        whole[start : start + rows] = torch.from_numpy(array[start : start + rows].copy())
    return whole


def open_batches(
    split: Split, batch_size: int, seed: int, num_workers: int, device: torch.device,
    pin_memory: str | bool, device_cache: str | bool, group: Group,
) -> Batches:  # fmt: skip
    """Return the training batches, from the device's own memory or read from disk.

    `pin_memory` reads them into page-locked memory; `auto` does so for a GPU. `device_cache` is
    true, false, or `auto`: true where the arrays take at most half of a GPU's free memory. The
    batches are the same either way.
    """
    if pin_memory == "auto":
        pin_memory = device.type == "cuda"
    if device_cache == "auto":
        size = split.input.nbytes + split.target.nbytes
        device_cache = device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] / 2
    if device_cache:
        return DeviceBatches(split, batch_size, seed, device, group)
    return Batches(split, batch_size, seed, num_workers, bool(pin_memory), group)


def ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on `device`, prefetching on a GPU: the next one is copied during a step."""
    if device.type != "cuda":
        for input, target in batches:
            yield input.to(device), target.to(device)
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def copy(batch: Batch) -> tuple[Tensor, Tensor, torch.cuda.Event]:
        with torch.cuda.stream(copies):
            input, target = (tensor.to(device, non_blocking=True) for tensor in batch)
            return input, target, copies.record_event()

    coming = map(copy, batches)
    following = next(coming, None)
    while following is not None:
        (input, target, copied), following = following, next(coming, None)
        current = torch.cuda.current_stream(device)
        current.wait_event(copied)
        # Keeps the memory of the copies until the current stream is done with them.
        input.record_stream(current)
        target.record_stream(current)
        yield input, target


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
