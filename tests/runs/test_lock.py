"""One training at a time; what a killed DVC has left behind is asked to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from colorgan.runs.lock import TrainingLock, read_owner

from colorgan import processes
from colorgan.errors import ColorganError
from colorgan.processes import GONE, Process, find, launcher, this_process

SOURCE = Path(processes.__file__).parents[1]

# Holds the lock of a folder until SIGTERM, which it answers as training does.
TRAINING = """
    import signal, sys, time
    from pathlib import Path
    from colorgan.runs.lock import TrainingLock

    def stop(*_):
        Path("checkpoint").write_text("at once")
        sys.exit(143)

    folder, stubborn = Path(sys.argv[1]), "stubborn" in sys.argv
    signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else stop)
    with TrainingLock(folder, "lab"):
        Path("started").write_text("")
        time.sleep(60)
"""
# Starts a stage as DVC does, and waits for it.
LAUNCHER = """
    import os, subprocess, sys
    subprocess.run([sys.executable, *sys.argv[1:]], env=os.environ | {"DVC_STAGE": "train_lab"})
"""


class Trainings:
    """Starts trainings in child processes, each in a working directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("DVC_")}
        self.env["PYTHONPATH"] = str(SOURCE)
        for name, code in (("training", TRAINING), ("launcher", LAUNCHER)):
            (folder / f"{name}.py").write_text(textwrap.dedent(code))

    def start(
        self, resume: Path, *options: str, cwd: str = "work", dvc: bool = False
    ) -> tuple[subprocess.Popen[bytes], int]:
        """Start a training and wait until it holds the lock; its process and its pid."""
        place = self.folder / cwd
        place.mkdir(exist_ok=True)
        (place / "started").unlink(missing_ok=True)
        words = [str(self.folder / "training.py"), str(resume), *options]
        if dvc:
            words.insert(0, str(self.folder / "launcher.py"))
        process = subprocess.Popen([sys.executable, *words], cwd=place, env=self.env)
        self.started.append(process)
        wait_for((place / "started").exists)
        owner = read_owner(resume)
        assert owner
        return process, owner.process.pid


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def resume(tmp_path: Path) -> Path:
    return tmp_path / "resume" / "digest"


@pytest.fixture
def trainings(tmp_path: Path, resume: Path) -> Iterator[Trainings]:
    (tmp_path / "work").mkdir()
    started = Trainings(tmp_path)
    yield started
    for owner in map(read_owner, resume.parent.glob("*")):
        if owner and owner.here and owner.process != this_process():
            os.kill(owner.process.pid, signal.SIGKILL)
    for process in started.started:
        process.kill()
        process.wait()


def test_its_file_names_the_process_and_goes_with_it(resume: Path) -> None:
    with TrainingLock(resume, "lab"):
        owner = read_owner(resume)
        assert owner is not None
        assert owner.process == this_process()
        assert owner.dvc is None
        assert owner.here
        assert not owner.orphan
    assert read_owner(resume) is None
    with TrainingLock(resume, "lab"):
        pass


def test_a_second_training_is_refused_with_the_pid_of_the_first(
    trainings: Trainings, resume: Path
) -> None:
    _, pid = trainings.start(resume, dvc=True)
    begin = time.monotonic()
    with pytest.raises(ColorganError) as refused, TrainingLock(resume, "lab"):
        pass
    assert str(refused.value) == (
        f"process {pid} is training lab with these very parameters and data already: wait for it, "
        f"or stop it with `kill {pid}`"
    )
    assert time.monotonic() - begin < 2
    owner = read_owner(resume)
    assert owner
    assert owner.here, "its own entry is left alone"


def test_sigkill_of_the_training_frees_the_lock(trainings: Trainings, resume: Path) -> None:
    process, pid = trainings.start(resume)
    os.kill(pid, signal.SIGKILL)
    process.wait()
    said: list[str] = []
    with TrainingLock(resume, "lab", say=said.append):
        assert said == []


def test_the_orphan_of_a_killed_dvc_is_asked_to_stop(
    trainings: Trainings, resume: Path, tmp_path: Path
) -> None:
    dvc, pid = trainings.start(resume, dvc=True)
    dvc.kill()
    dvc.wait()
    assert find(pid) is not None
    said: list[str] = []
    with TrainingLock(resume, "lab", say=said.append):
        owner = read_owner(resume)
        assert owner
        assert owner.process == this_process()
    assert said == [
        f"train lab: process {pid}, left over from a DVC that was killed, is asked to stop"
    ]
    assert (tmp_path / "work" / "checkpoint").read_text() == "at once"


def test_an_orphan_that_does_not_stop_is_named(trainings: Trainings, resume: Path) -> None:
    dvc, pid = trainings.start(resume, "stubborn", dvc=True)
    dvc.kill()
    dvc.wait()
    lock = TrainingLock(resume, "lab", patience=0.5, say=lambda line: None)
    with pytest.raises(ColorganError, match=f"has not within . s: .*kill -9 {pid}"), lock:
        pass
    assert find(pid) is not None


def test_an_orphan_with_other_parameters_would_write_to_the_same_results(
    trainings: Trainings, resume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = resume.with_name("older"), resume.with_name("temporary")
    dvc, pid = trainings.start(here, dvc=True)
    other_dvc, other_pid = trainings.start(elsewhere, cwd="copy", dvc=True)
    for process in (dvc, other_dvc):
        process.kill()
        process.wait()
    monkeypatch.chdir(tmp_path / "work")
    said: list[str] = []
    with TrainingLock(resume, "lab", say=said.append):
        assert [str(pid) in line for line in said] == [True]
        assert find(pid) is None
        assert find(other_pid) is not None, "it writes to its own copy of the project"
    with TrainingLock(here, "lab"):
        pass


def test_a_pid_that_another_process_got_since_is_not_the_holder(
    trainings: Trainings, resume: Path
) -> None:
    assert this_process().alive
    assert not Process(os.getpid(), "started at another time").alive
    trainings.start(resume)
    file = resume / "owner.json"
    content = json.loads(file.read_text())
    mine = content["process"]
    # As if the holder had died, a worker of its held the lock still, and we had got its pid.
    content["process"] = {"pid": os.getpid(), "started": "at another time"}
    content["dvc"] = {"pid": os.getpid(), "started": "at another time"}
    file.write_text(json.dumps(content))
    lock = TrainingLock(resume, "lab", patience=0.3)
    with pytest.raises(ColorganError, match="left no name"), lock:
        pass
    content["process"] = mine
    file.write_text(json.dumps(content))


def test_a_holder_on_another_machine_is_named_with_it(trainings: Trainings, resume: Path) -> None:
    trainings.start(resume)
    file = resume / "owner.json"
    content = json.loads(file.read_text())
    # Its DVC has died; but the pid means nothing here, so nothing is ended.
    gone = {"pid": 0, "started": "gone"}
    file.write_text(json.dumps({**content, "host": "elsewhere", "dvc": gone}))
    with pytest.raises(ColorganError, match=r"process \d+ on elsewhere is training lab"):
        TrainingLock(resume, "lab").__enter__()
    file.write_text(json.dumps(content))


def test_the_launcher_is_the_first_ancestor_that_is_no_stage(
    trainings: Trainings, resume: Path
) -> None:
    dvc, pid = trainings.start(resume, dvc=True)
    assert launcher(pid) == find(dvc.pid)
    owner = read_owner(resume)
    assert owner
    assert owner.dvc == find(dvc.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for who takes in orphans")
def test_a_dvc_that_died_before_the_lock_was_taken_is_gone(
    trainings: Trainings, resume: Path
) -> None:
    # The shell ends at once, and the stage is taken in by the first process.
    command = f'"{sys.executable}" ../training.py "{resume}" &'
    env = trainings.env | {"DVC_STAGE": "train_lab"}
    place = trainings.folder / "work"
    subprocess.run(["sh", "-c", command], cwd=place, env=env, check=True)
    wait_for((place / "started").exists)
    owner = read_owner(resume)
    assert owner
    parent = next(processes.ancestors(owner.process.pid))
    if parent != 1:
        pytest.skip("another process than the first takes in orphans here")
    assert owner.dvc == GONE
    assert owner.orphan
