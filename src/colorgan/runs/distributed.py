"""Several processes that train together: launching them, and what they tell one another."""

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

from colorgan.runs.runtime import Group

T = TypeVar("T")
# Rank 0 validates and draws while the others wait for it.
PATIENCE = timedelta(hours=2)
LAUNCHER = "COLORGAN_LAUNCHER"
"""Environment variable: the process that has launched a group, if it was the stage itself."""
# In gloo's words and in NCCL's.
PEER_ENDED = ("by peer", "Broken pipe", "remote process exit")


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
    # What a process has to say to the user it says itself. Each logger of torch has its own level.
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
        monitor_interval=0.1,
        # Of a stop: the iteration at hand, or the validation, and a checkpoint.
        shutdown_timeout=120,
    )
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        elastic_launch(config, sys.executable)("-m", "colorgan", "train", space)
    except ChildFailedError as error:
        # One that was killed has not said so, and the others end because of it.
        killed = [failure for failure in error.failures.values() if failure.exitcode < 0]
        code = int((killed or [error.get_first_failure()[1]])[0].exitcode)
        if not killed:
            return code
        print(
            f"train {space}: one of the {n_processes} processes was ended by signal {-code} "
            f"({signal.Signals(-code).name}); the same command goes on",
            file=sys.stderr,
        )
        return 128 - code
    except SignalException as stop:
        return 128 + int(stop.sigval)
    finally:
        del os.environ[LAUNCHER]
    return 0


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Join the group that the environment names, and leave it in the end; alone, do nothing."""
    group = Group.of_environment()
    if group.world_size == 1:
        yield group
        return
    _end_with_launcher()
    # Said of weights with a single input channel, whose gradients lie in memory as they should.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield group
    except RuntimeError as error:
        if not any(text in str(error) for text in PEER_ENDED):
            raise
        # It has said why itself, or who launched it does.
        raise SystemExit(1) from None
    finally:
        dist.destroy_process_group()


def _end_with_launcher() -> None:
    """Have the system end this process with the one that launched it, where it can (Linux).

    A launcher that is killed cannot end its group, which would train on, unseen.
    """
    launcher = os.environ.get(LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(launcher):
        os.kill(os.getpid(), signal.SIGKILL)


# From linux/prctl.h.
_PR_SET_PDEATHSIG = 1


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
