"""Batches of a split: one fancy-indexed copy each, in an order that depends on seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from colorgan.data.arrays import Split

Batch = tuple[Tensor, Tensor]


MAPPED_AT_MOST = 64 << 20
"""Bytes of the memory maps that are kept before their pages are let go."""
MAPPED_AROUND = 64 << 10
"""Bytes that Linux maps around each place that is read."""


class _Photos(Dataset[Batch]):
    """A split as DataLoader wants it: a whole batch is fetched at once."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._mapped = 0

    def __len__(self) -> int:
        return len(self._split)

    def __getitems__(self, rows: list[int]) -> Batch:
        # In the order of the file, so that the disk is read forwards; a batch has no order.
        rows = sorted(rows)
        input, target = self._split.input[rows], self._split.target[rows]
        self._mapped += input.nbytes + target.nbytes + 2 * len(rows) * MAPPED_AROUND
        if self._mapped > MAPPED_AT_MOST:
            self._split.release()
            self._mapped = 0
        return torch.from_numpy(input), torch.from_numpy(target)


class ShuffledBatches(Sampler[list[int]]):
    """Whole batches of row numbers in a new order each epoch, the last incomplete one dropped.

    The order is a function of seed and epoch alone, so it is the same however many workers read.
    """

    def __init__(self, n_photos: int, batch_size: int, seed: int) -> None:
        self._n_photos = n_photos
        self._batch_size = batch_size
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._n_photos // self._batch_size

    def __iter__(self) -> Iterator[list[int]]:
        generator = epoch_generator(self._seed, self.epoch)
        order = torch.randperm(self._n_photos, generator=generator)
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            yield order[start : start + self._batch_size].tolist()


class TrainingBatches:
    """The training batches of an epoch, read by `num_workers` processes.

    Batches are `(input (N, H, W), target (N, H, W, C))`, uint8, on the CPU: a quarter of the
    bytes of floats to copy to a GPU.
    """

    def __init__(
        self, split: Split, batch_size: int, seed: int, num_workers: int, pin_memory: bool
    ) -> None:
        self._order = ShuffledBatches(len(split), batch_size, seed)
        self._loader: DataLoader[Batch] = DataLoader(
            _Photos(split),
            batch_sampler=self._order,
            collate_fn=_as_it_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            # Left to itself it draws from torch's own random numbers, more often without workers
            # than with: dropout, which draws from them too, would differ with num_workers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._order)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 0."""
        self._order.epoch = number
        yield from self._loader


def _as_it_is(batch: Any) -> Any:
    """Leave a batch that was fetched whole; not a lambda, which a spawned worker cannot get."""
    return batch


def epoch_generator(seed: int, epoch: int, stream: int = 0) -> torch.Generator:
    """Return random numbers of their own for an epoch; streams keep different uses apart."""
    # The primes only spread neighbouring seeds; any injective mix would do.
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) * 8191 + stream)
