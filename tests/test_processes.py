"""Processes are told apart by when they started, whichever way the system tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from colorgan import processes
from colorgan.processes import Process, find, launcher, this_process


@pytest.fixture(params=["as it is", "psutil", "neither"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways to ask: of this system, of psutil, and of neither."""
    if request.param != "as it is":
        monkeypatch.setattr(processes, "ON_LINUX", False)
    if request.param == "psutil":
        pytest.importorskip("psutil")
    if request.param == "neither":
        monkeypatch.setitem(sys.modules, "psutil", None)
    return str(request.param)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    env = os.environ | {"MARK": "of the child"}
    process = subprocess.Popen(words, cwd=tmp_path, env=env)
    time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_a_process_is_alive_until_it_ends(way: str, child: subprocess.Popen[bytes]) -> None:
    it = find(child.pid)
    assert it is not None
    assert it.alive
    assert find(os.getpid()) == this_process()
    child.kill()
    if way != "neither":
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not it.alive, "a zombie runs no more"
    child.wait()
    assert not it.alive
    assert find(child.pid) is None


def test_who_has_its_pid_later_is_another(way: str) -> None:
    other = Process(os.getpid(), "at another time")
    # Where nobody tells when a process started, it is taken for the one that is meant.
    assert other.alive == (way == "neither")


def test_what_is_known_of_a_process(
    way: str, child: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    if way == "neither":
        assert processes.all_pids() == []
        assert processes.command_line(child.pid) == []
        assert launcher(child.pid) is None
        return
    assert child.pid in processes.all_pids()
    assert processes.command_line(child.pid)[1] == "-c"
    assert processes.environment(child.pid)["MARK"] == "of the child"
    assert processes.working_directory(child.pid) == tmp_path
    assert next(processes.ancestors(child.pid)) == os.getpid()
    assert launcher(child.pid) is None


def test_what_cannot_be_read_is_empty(way: str) -> None:
    nobody = 2**22 + 1
    assert find(nobody) is None
    assert processes.command_line(nobody) == []
    assert processes.environment(nobody) == {}
    assert processes.working_directory(nobody) is None


def test_when_a_process_started_is_told_by_the_clock_of_files(way: str, tmp_path: Path) -> None:
    def now() -> float:
        (tmp_path / "now").touch()
        return (tmp_path / "now").stat().st_mtime

    before = now()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        after = now()
        started = processes.started_at(process.pid)
        process.kill()
    if way == "neither":
        assert started is None
        return
    # The system counts in ticks; psutil knows the time of its start to a second.
    inexact = 0.05 if way == "as it is" else 1.1
    assert before - inexact <= (started or 0) <= after + inexact
    assert processes.started_at(process.pid) is None
