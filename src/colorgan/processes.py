"""Which process is which: alive or not, started when, launched by which DVC.

A pid alone does not name a process: the system gives it to another one later. On Linux this reads
/proc; elsewhere it asks psutil, and without psutil it takes a process of unknown start for the one
that is meant, so that nothing is ended by mistake.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
ON_LINUX = sys.platform.startswith("linux")
# What takes in a process whose parent has died, beside pid 1.
REAPERS = ("systemd", "init", "launchd")


@dataclass(frozen=True)
class Process:
    """A process for good: its pid and when it started (opaque text; None if it is not known)."""

    pid: int
    started: str | None

    @property
    def alive(self) -> bool:
        """Whether this very process runs still; a zombie does not."""
        now = find(self.pid)
        return now is not None and (None in (now.started, self.started) or now == self)


# A DVC that had died before its stage could look for it.
GONE = Process(0, "gone")


def find(pid: int) -> Process | None:
    """Return the process that has `pid` now; None if there is none, or only a zombie."""
    facts = _facts(pid)
    return None if facts is None else Process(pid, facts[1])


def started_at(pid: int) -> float | None:
    """Return when a process started, in seconds since 1970 by today's clock; None if unknown."""
    facts = _facts(pid)
    if facts is None or facts[1] is None:
        return None
    number = float(facts[1].split()[-1])
    if not ON_LINUX:
        return number
    # In ticks since the system began; this clock also counts the time it has slept.
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - number / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def this_process() -> Process:
    """Return the process that calls this."""
    return find(os.getpid()) or Process(os.getpid(), None)


def command_line(pid: int) -> list[str]:
    """Return the words that a process was started with; none if that cannot be read."""
    if ON_LINUX:
        return _words(PROC / str(pid) / "cmdline")
    try:
        import psutil

        return list(psutil.Process(pid).cmdline())
    except Exception:
        return []


def environment(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty if it cannot be read."""
    if ON_LINUX:
        pairs = (word.partition("=") for word in _words(PROC / str(pid) / "environ"))
        return {name: value for name, _, value in pairs}
    try:
        import psutil

        return dict(psutil.Process(pid).environ())
    except Exception:
        return {}


def working_directory(pid: int) -> Path | None:
    """Return the folder a process works in; None if that cannot be read."""
    try:
        if ON_LINUX:
            return (PROC / str(pid) / "cwd").readlink()
        import psutil

        return Path(psutil.Process(pid).cwd())
    except Exception:
        return None


def all_pids() -> list[int]:
    """Return the pids of all processes; none where there is no way to list them."""
    if ON_LINUX:
        return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]
    try:
        import psutil
    except ImportError:
        return []
    return list(psutil.pids())


def launcher(pid: int | None = None) -> Process | None:
    """Return the DVC that launched a process (this one): its first ancestor without DVC_STAGE.

    None if it is not a stage of DVC, or if its ancestors cannot be looked at; GONE if DVC has died
    and another process has taken the stage in.
    """
    pid = os.getpid() if pid is None else pid
    its_own = os.environ if pid == os.getpid() else environment(pid)
    if "DVC_STAGE" not in its_own:
        return None
    for ancestor in ancestors(pid):
        around = environment(ancestor)
        if not around and not command_line(ancestor):
            # Of another user, or gone just now.
            return None if find(ancestor) else GONE
        if "DVC_STAGE" not in around:
            return GONE if _takes_in_orphans(ancestor) else find(ancestor) or GONE
    return None


def ancestors(pid: int) -> Iterator[int]:
    """Yield the parent of a process, its parent, and so on."""
    while (facts := _facts(pid)) and facts[0] > 0:
        pid = facts[0]
        yield pid


def _takes_in_orphans(pid: int) -> bool:
    words = command_line(pid)
    name = Path(words[0]).name if words else ""
    # DVC itself can be the first process of a container.
    return (pid == 1 or name in REAPERS) and not any("dvc" in word for word in words)


def _facts(pid: int) -> tuple[int, str | None] | None:
    """Return (parent, started) of a process; None if there is none, or only a zombie."""
    if pid <= 0:
        return None
    return _facts_of_proc(pid) if ON_LINUX else _facts_elsewhere(pid)


def _facts_of_proc(pid: int) -> tuple[int, str | None] | None:
    try:
        # The second field, the name in brackets, may itself hold spaces and brackets.
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), f"{boot} {fields[19]}")


def _facts_elsewhere(pid: int) -> tuple[int, str | None] | None:
    try:
        import psutil
    except ImportError:
        return _facts_without_psutil(pid)
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.ppid(), f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return 0, None


def _facts_without_psutil(pid: int) -> tuple[int, str | None] | None:
    # On Windows signal 0 is Ctrl-C: os.kill would end what it should look at.
    if os.name != "nt":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
    return 0, None


def _words(path: Path) -> list[str]:
    try:
        return [word for word in path.read_bytes().decode(errors="replace").split("\0") if word]
    except OSError:
        return []
