"""Several processes that train together: starting them, and what they exchange."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from colorgan.errors import say
from colorgan.runs.runtime import Group

T = TypeVar("T")
# The others wait while rank 0 validates.
TIMEOUT = timedelta(hours=2)
# How gloo and NCCL say that another process has ended.
PEER_ENDED = ("by peer", "Broken pipe", "remote process exit")


def launched() -> bool:
    """Whether torchrun, or the stage itself, has started this process as one of a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(space: str, n_processes: int, device: torch.device) -> int:
    """Run `colorgan train <space>` in several processes on this machine, as torchrun does.

    Returns the exit code: 0, or that of a process that failed, which has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if device.type == "cpu":
        # Each process would start as many threads as there are cores.
        threads = (os.cpu_count() or n_processes) // n_processes
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # Each process says itself what the user should know; each logger of torch has its own level.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        # A stopped process finishes its iteration or validation and writes a checkpoint.
        shutdown_timeout=120,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "colorgan", "train", space)
    except ChildFailedError as error:
        # The others end because of a killed process, which itself has said nothing.
        code = min(failure.exitcode for failure in error.failures.values())
        if code > 0:
            return code
        name = signal.Signals(-code).name
        say(f"train {space}: a process was ended by {name}; the same command resumes")
        return 128 - code
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


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
        # That process, or the launcher, says why.
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
