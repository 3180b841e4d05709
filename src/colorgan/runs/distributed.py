"""Several processes that train together, as torchrun starts them: what they exchange."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from colorgan.runs.runtime import Group

T = TypeVar("T")
# The others wait while rank 0 validates.
TIMEOUT = timedelta(hours=2)
# How gloo and NCCL say that another process has ended.
PEER_ENDED = ("by peer", "Broken pipe", "remote process exit")


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the group that the environment names, and leave it at the end; alone, do nothing."""
    if Group.of_environment().world_size == 1:
        yield
        return
    # About weights with one input channel, which are laid out as they should be.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # Its successor does not exist in torch before 2.13.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    except RuntimeError as error:
        if not any(text in str(error) for text in PEER_ENDED):
            raise
        # That process, or torchrun, says why.
        raise SystemExit(1) from None
    finally:
        dist.destroy_process_group()


def from_rank_0(value: T, group: Group) -> T:
    """Return rank 0's value in every process."""
    if group.world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def wait_for_all(group: Group) -> None:
    """Wait until every process of the group has come here."""
    if group.world_size > 1:
        dist.all_reduce(torch.zeros(1))


def any_rank(flags: tuple[bool, ...], group: Group) -> list[bool]:
    """Return for each flag whether any process has set it; exchanged without the GPUs."""
    total = torch.tensor(flags, dtype=torch.float32)
    if group.world_size > 1:
        dist.all_reduce(total)
    return [bool(x) for x in total.tolist()]


def mean_over_ranks(losses: Tensor, group: Group) -> Tensor:
    """Return the mean of the losses over the processes."""
    if group.world_size > 1:
        dist.all_reduce(losses)
        losses = losses / group.world_size
    return losses
