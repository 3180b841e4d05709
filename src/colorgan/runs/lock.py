"""One training at a time with the same parameters and data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from colorgan.errors import ColorganError

LOCK = "lock"
PID = "pid"


@contextmanager
def training_lock(folder: Path, space: str) -> Iterator[None]:
    """Hold the lock of a resume folder; the system releases it when the process ends.

    Raises:
        ColorganError: another process holds it; names its pid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(folder / LOCK).acquire(blocking=False)
    except Timeout:
        pid = "PID"
        with suppress(OSError):
            pid = (folder / PID).read_text(encoding="utf-8")
        raise ColorganError(
            f"process {pid} is training {space} with these very parameters and data already: wait "
            f"for it, or stop it with `kill {pid}`"
        ) from None
    with lock:
        (folder / PID).write_text(str(os.getpid()), encoding="utf-8")
        yield
