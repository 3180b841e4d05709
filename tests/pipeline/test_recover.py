"""docs/recover.md: its commands, run as they stand there after a real SIGKILL of DVC."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.conftest import Project, clean_environment

PAGE = Path(__file__).parents[2] / "docs" / "recover.md"
LIST_TRAININGS, STOP, LIST_STASH, DISCARD, POP, SWITCH, DIFF, RESTORE, UNLOCK, OLD_LOCK = (
    line
    for block in re.findall(r"^```\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
)
EXPERIMENT = ("dvc", "exp", "run", "-S", "a.b=5")
PARAMS = "a:\n  b: 1\n  c: 2\n"
EDITED = PARAMS.replace("c: 2", "c: 7")
PIPELINE = """
stages:
  first:
    cmd: cp params.yaml first.txt
    params: [a]
    outs: [first.txt]
  train:
    cmd: python colorgan train
    deps: [colorgan, first.txt]
    params: [a]
    outs: [out.txt]
"""
# Stands in for a training: writes its pid, then works as long as the file `slow` is there.
STAGE = """
import os, pathlib, time
root = pathlib.Path(os.environ["DVC_ROOT"])
(root / "pid").write_text(str(os.getpid()))
while (root / "slow").exists():
    time.sleep(0.02)
pathlib.Path("out.txt").write_text(pathlib.Path("params.yaml").read_text())
"""


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DVC project that has been run and committed."""
    folder = tmp_path_factory.mktemp("recover") / "healthy"
    folder.mkdir()
    files = {"params.yaml": PARAMS, "dvc.yaml": PIPELINE, "colorgan": STAGE}
    for name, text in {**files, ".gitignore": "/pid\n/slow\n"}.items():
        (folder / name).write_text(text)
    project = Project(folder, clean_environment())
    project.run("git", "init", "--quiet", "--initial-branch=main")
    for command in ("dvc init --quiet", "dvc repro", "git add --all", "git commit -qm first"):
        project.run(*command.split())
    return folder


@pytest.fixture
def small(healthy: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of it with changes that are not committed, in which the next stage runs for long."""
    small = Project(shutil.copytree(healthy, tmp_path / "project"), clean_environment())
    (small.folder / "params.yaml").write_text(EDITED)
    with (small.folder / "colorgan").open("a") as stage:
        stage.write("# mine\n")
    small.run("git", "add", "colorgan")
    (small.folder / "note.txt").write_text("mine")
    (small.folder / "pid").unlink()
    (small.folder / "slow").touch()
    yield small
    (small.folder / "slow").unlink(missing_ok=True)


def kill_dvc(project: Project, *command: str, when: Callable[[], object]) -> None:
    """Start DVC and SIGKILL it as soon as `when` returns something true."""
    with (project.folder.parent / "killed.log").open("w") as log:
        dvc = subprocess.Popen(command, cwd=project.folder, env=project.env, stdout=log, stderr=log)
    end = time.monotonic() + 120
    while not when():
        assert dvc.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.0005)
    dvc.kill()
    dvc.wait()


def on_the_page(project: Project, command: str) -> str:
    """Run a command of the page as a person would, in a shell."""
    return project.run("sh", "-c", command)


def stop_training(project: Project, pid: int) -> None:
    """Find the training that outlived its DVC, and stop it, with the commands of the page."""
    assert str(pid) in on_the_page(project, LIST_TRAININGS).split()
    on_the_page(project, STOP.replace("PID", str(pid)))
    end = time.monotonic() + 60
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(pid, 0)
            time.sleep(0.05)
        pytest.fail("it did not end")


def stage_pid(project: Project) -> int:
    """The process of the stage; 0 as long as it has not started."""
    with suppress(OSError, ValueError):
        return int((project.folder / "pid").read_text())
    return 0


def assert_all_is_well(project: Project) -> None:
    """The person's changes are there, and the command that was killed works again."""
    assert (project.folder / ".git/HEAD").read_text() == "ref: refs/heads/main\n"
    assert "c: 7" in (project.folder / "params.yaml").read_text()
    assert (project.folder / "colorgan").read_text().endswith("# mine\n")
    assert (project.folder / "note.txt").read_text() == "mine"
    (project.folder / "slow").unlink()
    project.run(*EXPERIMENT)
    assert (project.folder / "out.txt").read_text() == EDITED.replace("b: 1", "b: 5")
    assert (project.folder / ".git/HEAD").read_text() == "ref: refs/heads/main\n"
    refs = project.run("git", "for-each-ref", "--format=%(refname)").split()
    assert [ref for ref in refs if ref.startswith("refs/exps/exec")] == ["refs/exps/exec/EXEC_HEAD"]


@pytest.mark.parametrize("cut", [0, 1, 60, -30, -1])
def test_dvc_lock_is_cut_short(healthy: Path, tmp_path: Path, cut: int) -> None:
    project = Project(shutil.copytree(healthy, tmp_path / "project"), clean_environment())
    lock, pid = project.folder / "dvc.lock", project.folder / "pid"
    whole = lock.read_text()
    pid.unlink()
    lock.write_text(whole[:cut])
    assert cut == -1 or "up to date" not in project.run("dvc", "status", check=False)
    on_the_page(project, OLD_LOCK)
    assert "up to date" in project.run("dvc", "status")
    # As if it was never committed.
    lock.unlink()
    project.run("dvc", "repro")
    assert lock.read_text() == whole
    assert not pid.exists(), "no stage has run again"


def test_make_repro_says_what_the_cache_does_not_have(healthy: Path, tmp_path: Path) -> None:
    project = Project(shutil.copytree(healthy, tmp_path / "project"), clean_environment())
    makefile = (PAGE.parents[1] / "Makefile").read_text()
    # This project has no photos.
    (project.folder / "Makefile").write_text(makefile.replace("python -m colorgan check-", "true "))
    repro = ("make", "-o", "setup", "repro")
    assert "not in the cache" not in project.run(*repro, check=False)
    # With a full disk, `dvc repro` keeps nothing and ends well.
    full = project.folder / ".venv" / "bin" / "dvc"
    full.parent.mkdir(parents=True)
    dvc = shutil.which("dvc", path=project.env["PATH"])
    full.write_text(f'#!/bin/sh\n"{dvc}" "$@"\n[ $1 != repro ] || rm -r .dvc/cache/files\n')
    full.chmod(0o755)
    said = project.run(*repro, check=False)
    full.unlink()
    assert "colorgan: not in the cache of DVC: first.txt, out.txt; free some space" in said
    assert ": *** [Makefile" in said
    project.run(*said.partition("then run: ")[2].splitlines()[0].split())
    assert "not in the cache" not in project.run(*repro, check=False)


def test_repro_is_killed(small: Project) -> None:
    kill_dvc(small, "dvc", "repro", when=lambda: stage_pid(small))
    stop_training(small, stage_pid(small))
    # As if it was killed while it wrote them.
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        file = small.folder / name
        file.write_text(file.read_text()[:100])
    assert "validation failed" in small.run("dvc", "repro", check=False)
    on_the_page(small, UNLOCK)
    on_the_page(small, OLD_LOCK)
    assert small.run("git", "diff", "HEAD", "dvc.lock") == ""
    assert_all_is_well(small)
    (small.folder / "params.yaml").write_text(EDITED)
    small.run("dvc", "repro")
    assert (small.folder / "out.txt").read_text() == EDITED


def test_an_experiment_is_killed_while_it_trains(small: Project) -> None:
    kill_dvc(small, *EXPERIMENT, when=lambda: stage_pid(small))
    stop_training(small, stage_pid(small))
    assert on_the_page(small, LIST_STASH) == ""
    on_the_page(small, SWITCH)
    said = on_the_page(small, DIFF)
    assert "+  b: 5" in said
    assert "+  c: 7" in said
    assert_all_is_well(small)


@pytest.mark.parametrize("cut", [0, 2, 9])
def test_an_experiment_is_killed_between_setup_and_training(small: Project, cut: int) -> None:
    merge = small.folder / ".git/refs/exps/exec/EXEC_BASELINE"
    kill_dvc(small, *EXPERIMENT, when=merge.exists)
    assert on_the_page(small, LIST_STASH) == ""
    on_the_page(small, SWITCH)
    params = small.folder / "params.yaml"
    params.write_text(params.read_text()[:cut])
    on_the_page(small, RESTORE)
    assert "b: 5" in (small.folder / "params.yaml").read_text()
    assert_all_is_well(small)


@pytest.mark.parametrize("moment", ["stash", "exps/stash"])
def test_an_experiment_is_killed_in_its_first_second(small: Project, moment: str) -> None:
    kill_dvc(small, *EXPERIMENT, when=(small.folder / ".git/refs" / moment).exists)
    assert " ago}: WIP on main" in on_the_page(small, LIST_STASH)
    (small.folder / "params.yaml").write_text("a:\n")
    on_the_page(small, UNLOCK)
    on_the_page(small, DISCARD)
    on_the_page(small, POP)
    assert small.run("git", "status", "--short").splitlines() == [
        "M  colorgan",
        " M params.yaml",
        "?? note.txt",
    ]
    assert_all_is_well(small)


@pytest.mark.slow
def test_the_projects_own_training_is_killed(project: Project) -> None:
    log = project.folder.parent / "killed.log"
    command = ("dvc", "exp", "run", "-S", "train.seed=5", "-S", "train.epochs=8", "train_lab")
    params = project.folder / "params.yaml"
    committed = params.read_text()
    params.write_text(committed + "# mine\n")
    try:
        kill_dvc(project, *command, when=lambda: "iteration" in log.read_text())
        listed = on_the_page(project, LIST_TRAININGS).splitlines()
        pids = [int(line.split()[0]) for line in listed]
        here = [pid for pid in pids if Path(f"/proc/{pid}/cwd").resolve() == project.folder]
        stop_training(project, max(here))
        on_the_page(project, SWITCH)
        assert "+# mine" in on_the_page(project, DIFF)
        said = project.run(*command)
        assert "train lab: goes on from iteration " in said
        assert params.read_text().endswith("# mine\n")
        assert "Ran experiment(s)" in said
    finally:
        project.run("git", "switch", "--quiet", "--discard-changes", "main")
        project.run("dvc", "checkout", "--quiet", "--force")
