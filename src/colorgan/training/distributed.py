"""Several processes that train together: launching them, and what they tell one another."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from colorgan.runtime import Group

T = TypeVar("T")
# Rank 0 validates and draws while the others wait for it.
PATIENCE = timedelta(hours=2)


def launched() -> bool:
    """Say whether torchrun, or the stage itself, has started this process as one of a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(space: str, n_processes: int, device: torch.device) -> int:
    """Run `colorgan train <space>` in so many processes on this machine, as torchrun does.

    Returns:
        The exit code: 0, or that of the process that failed first, which has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if device.type == "cpu":
        # As torchrun does: as many threads each as there are cores would fight for them.
        threads = max(1, (os.cpu_count() or 1) // n_processes)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # What a process has to say to the user it says itself.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        # Of a stop: the iteration at hand, or the validation, and a checkpoint.
        shutdown_timeout=600,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "colorgan", "train", space)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        code = int(first.exitcode)
        return 128 - code if code < 0 else code
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Join the group that the environment names, and leave it in the end; alone, do nothing."""
    group = Group.of_environment()
    if group.world_size == 1:
        yield group
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield group
    finally:
        dist.destroy_process_group()


def from_rank_0(value: T, group: Group) -> T:
    """Return rank 0's value to every process."""
    if group.world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def wait_for_all(group: Group) -> None:
    """Wait until every process of the group has come here."""
    if group.world_size > 1:
        dist.all_reduce(torch.zeros(1))


def anywhere(flags: tuple[bool, ...]) -> list[bool]:
    """Say of each flag whether it is up in any process; exchanged by the CPUs, no GPU waits."""
    up = torch.tensor(flags, dtype=torch.float32)
    dist.all_reduce(up)
    return [bool(x) for x in up.tolist()]


def mean_and_flags(losses: Tensor, flags: tuple[bool, ...], group: Group) -> tuple[Tensor, Tensor]:
    """Average losses over the group, and say of each flag whether it is up anywhere.

    One exchange on the losses' device.
    """
    up = torch.tensor(flags, dtype=losses.dtype)
    if group.world_size == 1:
        return losses, up
    both = torch.cat((losses, up.to(losses.device)))
    dist.all_reduce(both)
    return both[: len(losses)] / group.world_size, both[len(losses) :]
