"""One training at a time with the same parameters and data, and none that DVC has left behind.

SIGKILL of DVC leaves its stage running. Such an orphan goes on writing to the same checkpoint, and
at its end to the outs of whatever runs by then; so the next training asks it to stop first.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from colorgan.errors import ColorganError
from colorgan.io import write_json
from colorgan.processes import Process, launcher, this_process

LOCK = "lock"
OWNER = "owner.json"
# An orphan finishes its step and writes a checkpoint.
PATIENCE = 120.0
# Loader processes of a training that was killed hold its lock until they notice.
LINGERING = 30.0
POLL = 0.1


@dataclass(frozen=True)
class Owner:
    """Who holds the lock: process, the DVC that launched it (None without DVC), machine, folder."""

    process: Process
    dvc: Process | None
    host: str
    folder: str

    @property
    def here(self) -> bool:
        """Whether its pid is one of this machine, and it is alive."""
        return self.host == platform.node() and self.process.alive

    @property
    def orphan(self) -> bool:
        """Whether it runs on although its DVC has died."""
        return self.here and self.dvc is not None and not self.dvc.alive


class TrainingLock:
    """Holds `folder/lock` within a `with` block; `title` is what is trained, as in `lab`.

    The system releases it when the process ends, whatever ends it. Entering it stops a training
    that a killed DVC has left behind: the one that holds this lock, and any of the same title
    (another folder beside this one) that works in the same working directory.

    Raises:
        ColorganError: another training holds the lock, or an orphan does not stop within
            `patience` seconds.
    """

    def __init__(
        self,
        folder: Path,
        title: str,
        *,
        patience: float = PATIENCE,
        say: Callable[[str], object] = print,
    ) -> None:
        self._folder = folder
        self._title = title
        self._patience = patience
        self._say = say
        self._lock = FileLock(folder / LOCK)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        for other in self._folder.parent.glob(f"*/{OWNER}"):
            owner = read_owner(other.parent)
            if other.parent != self._folder and owner and owner.orphan and owner.folder == _cwd():
                self._taken(FileLock(other.parent / LOCK), other.parent).release()
        self._taken(self._lock, self._folder)
        me = Owner(this_process(), launcher(), platform.node(), _cwd())
        write_json(self._folder / OWNER, asdict(me))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # First the name, then the lock: nobody finds a name that is not the holder's.
        (self._folder / OWNER).unlink(missing_ok=True)
        self._lock.release()

    def _taken(self, lock: FileLock, folder: Path) -> FileLock:
        """Acquire a lock: ask its holder to stop if it is an orphan, else say who it is."""
        asked: Owner | None = None
        waited_since = time.monotonic()
        while True:
            try:
                lock.acquire(blocking=False)
                return lock
            except Timeout:
                pass
            # Read each time: who has just taken the lock writes its name a moment later.
            owner = read_owner(folder)
            if owner and owner.orphan and owner != asked:
                asked, waited_since = owner, time.monotonic()
                self._ask_to_stop(owner)
            elif owner and owner != asked and (owner.here or owner.host != platform.node()):
                raise ColorganError(self._busy(owner))
            waited = time.monotonic() - waited_since
            if waited > (self._patience if asked else min(LINGERING, self._patience)):
                raise ColorganError(self._stuck(lock, asked, waited))
            time.sleep(POLL)

    def _ask_to_stop(self, owner: Owner) -> None:
        pid = owner.process.pid
        self._say(
            f"train {self._title}: process {pid}, left over from a DVC that was killed, is asked "
            "to stop"
        )
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        except OSError as error:
            raise ColorganError(
                f"process {pid} is training {self._title}, left over from a DVC that was killed, "
                f"and cannot be stopped from here ({error.strerror}): stop it yourself"
            ) from None

    def _busy(self, owner: Owner) -> str:
        pid = owner.process.pid
        elsewhere = "" if owner.host == platform.node() else f" on {owner.host}"
        stop = f"taskkill /PID {pid}" if os.name == "nt" else f"kill {pid}"
        return (
            f"process {pid}{elsewhere} is training {self._title} with these very parameters and "
            f"data already: wait for it, or stop it with `{stop}`"
        )

    def _stuck(self, lock: FileLock, asked: Owner | None, waited: float) -> str:
        if asked and asked.here:
            return (
                f"process {asked.process.pid}, which trains {self._title} and is left over from a "
                f"DVC that was killed, was asked to stop and has not within {waited:.0f} s: end "
                f"it with `kill -9 {asked.process.pid}` and run the same command again"
            )
        return (
            f"{lock.lock_file} is held by a process that has left no name there: processes that "
            "a killed training has started may live on; end them and run the same command again"
        )


def read_owner(folder: Path) -> Owner | None:
    """Return who wrote its name into a resume folder; None if nobody has."""
    try:
        content = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        dvc = content["dvc"]
        return Owner(
            Process(**content["process"]),
            None if dvc is None else Process(**dvc),
            content["host"],
            content["folder"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cwd() -> str:
    return str(Path.cwd())
