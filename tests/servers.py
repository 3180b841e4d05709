"""Servers in processes of their own, and waiting for what happens there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 300, pause: float = 0.005) -> None:
    """Wait until a condition holds; the limit is long, because machines may be busy."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause)


def answers(address: str) -> bool:
    with suppress(OSError):
        return bool(urllib.request.urlopen(address, timeout=2))
    return False


@contextmanager
def running(
    command: Sequence[str],
    address: str = "",
    end: int = signal.SIGTERM,
    *,
    alone: bool = False,
    **how: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block; a server, from when it answers at an address.

    The signal `end` is for it `alone`, or for the processes that it has started too.
    """
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    program = subprocess.Popen(command, **{**quiet, **how}, start_new_session=True)
    try:
        if address:
            wait_for(lambda: program.poll() is not None or answers(address))
            assert program.poll() is None, "the server has ended"
        yield program
    finally:
        with suppress(ProcessLookupError):
            (os.kill if alone else os.killpg)(program.pid, end)
        program.wait(60)
