"""Whether a DVC is at work in a project, and keeping another from beginning meanwhile.

DVC holds its lock on the project in nearly all that it does, but lets go of it while a stage or an
experiment runs; then an entry in an rwlock, or the note on the running experiment, names it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from colorgan.errors import ColorganError
from colorgan.processes import command_line, find, started_at

TMP = Path(".dvc/tmp")
EXPERIMENTS = TMP / "exps"
LOCK = TMP / "lock"
LOCKS = (TMP / "rwlock", EXPERIMENTS / "rwlock")
# The note on the experiment that runs in the working tree.
WORKSPACE = EXPERIMENTS / "run" / "workspace"
# What the clock of a file system may be behind.
CLOCK_SECONDS = 1.0


@dataclass(frozen=True)
class Holder:
    """A DVC that a file of DVC's names.

    Attributes:
        pid: its process.
        command: its command as DVC wrote it, which may lack anything: a script's has no `dvc`.
        since: when the file was written last, in seconds since 1970.
    """

    pid: int
    command: str
    since: float

    @property
    def alive(self) -> bool:
        """Whether that DVC runs still: a process that began later has only got its pid."""
        if find(self.pid) is None:
            return False
        began = started_at(self.pid)
        return began is None or began <= self.since + CLOCK_SECONDS or self._same_command()

    def _same_command(self) -> bool:
        """Whether the commands agree, which tells also where the clock has been set meanwhile."""
        arguments = self.command.partition(" ")[2]
        now = " ".join(command_line(self.pid))
        return bool(arguments) and "dvc" in now and now.endswith(arguments)

    def __str__(self) -> str:
        return f"process {self.pid}: {textwrap.shorten(self.command, 200, placeholder=' ...')}"


@contextmanager
def dvc_kept_out(root: Path) -> Iterator[None]:
    """Let no DVC begin in `root` within the block; it waits up to three seconds for its lock.

    Raises:
        ColorganError: one is at work there.
    """
    # Not made where it is not there: DVC can be told to use locks of another kind.
    file = root / LOCK
    lock = file.open("r+", encoding="utf-8", errors="replace") if file.is_file() else None
    try:
        if lock and not _acquired(lock):
            raise _busy(_holder(file, lock))
        if at_work := next((one for one in _named(root) if one.alive), None):
            raise _busy(at_work)
        yield
    finally:
        if lock:
            lock.close()


def holders(file: Path) -> list[Holder]:
    """Return who stands in an rwlock; nobody where it is not there or was cut short."""
    content, since = read_json(file) or {}, modified(file)
    writers = list(content.get("write", {}).values())
    readers = [one for several in content.get("read", {}).values() for one in several]
    return [Holder(int(one["pid"]), str(one["cmd"]), since) for one in writers + readers]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, None if the file is not there or was cut short."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def modified(path: Path) -> float:
    """Return when a file was written last; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _named(root: Path) -> Iterator[Holder]:
    for file in LOCKS:
        yield from holders(root / file)
    note = root / WORKSPACE / "workspace.json"
    if running := read_json(note):
        yield Holder(int(running["pid"]), "dvc exp run", modified(note))


def _acquired(lock: TextIO) -> bool:
    """Lock a file as DVC does, until it is closed; False if a process holds it."""
    try:
        import fcntl
    except ImportError:
        # On Windows what DVC names has to do.
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # The file system knows no locks.
        return True
    return True


def _holder(file: Path, lock: TextIO) -> Holder | None:
    """Return who holds DVC's lock, as far as the pid in it is not an earlier holder's."""
    try:
        pid = int(lock.read())
    except ValueError:
        return None
    since = modified(file)
    # Without a command, which would agree with itself.
    alive = Holder(pid, "", since).alive
    return Holder(pid, " ".join(command_line(pid)) or "dvc", since) if alive else None


def _busy(holder: Holder | None) -> ColorganError:
    who = holder or f"it holds {LOCK}"
    stop = f", or stop it with `kill {holder.pid}`," if holder else ""
    return ColorganError(f"DVC is at work here ({who}): wait for it{stop} and recover then")
