"""docs/recover.md: its commands, run as they stand there after a real SIGKILL of DVC."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.conftest import Project, clean_environment
from servers import wait_for

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
def copy(healthy: Path, tmp_path: Path) -> Project:
    return Project(shutil.copytree(healthy, tmp_path / "project"), clean_environment())


@pytest.fixture
def small(copy: Project) -> Iterator[Project]:
    """A copy of it with changes that are not committed, in which the next stage runs for long."""
    (copy.folder / "params.yaml").write_text(EDITED)
    with (copy.folder / "colorgan").open("a") as stage:
        stage.write("# mine\n")
    copy.run("git", "add", "colorgan")
    (copy.folder / "note.txt").write_text("mine")
    (copy.folder / "pid").unlink()
    (copy.folder / "slow").touch()
    yield copy
    (copy.folder / "slow").unlink(missing_ok=True)


def kill_dvc(project: Project, *command: str, when: Callable[[], object]) -> None:
    """Start DVC and SIGKILL it as soon as `when` returns something true."""
    with (project.folder.parent / "killed.log").open("w") as log:
        dvc = subprocess.Popen(command, cwd=project.folder, env=project.env, stdout=log, stderr=log)
    wait_for(lambda: when() or dvc.poll() is not None, pause=0.0005)
    assert dvc.poll() is None, "it ended before it could be killed"
    dvc.kill()
    dvc.wait()


def stop_training(project: Project, pid: int) -> None:
    """Find the training that outlived its DVC, and stop it, with the commands of the page."""
    assert str(pid) in project.shell(LIST_TRAININGS).split()
    project.shell(STOP, PID=str(pid))
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


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
def test_dvc_lock_is_cut_short(copy: Project, cut: int) -> None:
    lock, pid = copy.folder / "dvc.lock", copy.folder / "pid"
    whole = lock.read_text()
    pid.unlink()
    lock.write_text(whole[:cut])
    assert cut == -1 or "up to date" not in copy.run("dvc", "status", check=False)
    copy.shell(OLD_LOCK)
    assert "up to date" in copy.run("dvc", "status")
    # As if it was never committed.
    lock.unlink()
    copy.run("dvc", "repro")
    assert lock.read_text() == whole
    assert not pid.exists(), "no stage has run again"


def test_make_repro_says_what_the_cache_does_not_have(copy: Project) -> None:
    makefile = (PAGE.parents[1] / "Makefile").read_text()
    # This project has no photos.
    (copy.folder / "Makefile").write_text(makefile.replace("python -m colorgan check-", "true "))
    repro = ("make", "-o", "setup", "repro")
    assert "not in the cache" not in copy.run(*repro, check=False)
    # With a full disk, `dvc repro` keeps nothing and ends well.
    full = copy.folder / ".venv" / "bin" / "dvc"
    full.parent.mkdir(parents=True)
    dvc = shutil.which("dvc", path=copy.env["PATH"])
    full.write_text(f'#!/bin/sh\n"{dvc}" "$@"\n[ $1 != repro ] || rm -r .dvc/cache/files\n')
    full.chmod(0o755)
    said = copy.run(*repro, check=False)
    full.unlink()
    assert "colorgan: not in the cache of DVC: first.txt, out.txt; free some space" in said
    assert ": *** [Makefile" in said
    copy.run(*said.partition("then run: ")[2].splitlines()[0].split())
    assert "not in the cache" not in copy.run(*repro, check=False)


def test_repro_is_killed(small: Project) -> None:
    kill_dvc(small, "dvc", "repro", when=lambda: stage_pid(small))
    stop_training(small, stage_pid(small))
    # As if it was killed while it wrote them.
    for name in ("dvc.lock", ".dvc/tmp/rwlock"):
        file = small.folder / name
        file.write_text(file.read_text()[:100])
    assert "validation failed" in small.run("dvc", "repro", check=False)
    small.shell(UNLOCK)
    small.shell(OLD_LOCK)
    assert small.run("git", "diff", "HEAD", "dvc.lock") == ""
    assert_all_is_well(small)
    (small.folder / "params.yaml").write_text(EDITED)
    small.run("dvc", "repro")
    assert (small.folder / "out.txt").read_text() == EDITED


def test_an_experiment_is_killed_while_it_trains(small: Project) -> None:
    kill_dvc(small, *EXPERIMENT, when=lambda: stage_pid(small))
    stop_training(small, stage_pid(small))
    assert small.shell(LIST_STASH) == ""
    small.shell(SWITCH)
    said = small.shell(DIFF)
    assert "+  b: 5" in said
    assert "+  c: 7" in said
    assert_all_is_well(small)


@pytest.mark.parametrize("cut", [0, 2, 9])
def test_an_experiment_is_killed_between_setup_and_training(small: Project, cut: int) -> None:
    merge = small.folder / ".git/refs/exps/exec/EXEC_BASELINE"
    kill_dvc(small, *EXPERIMENT, when=merge.exists)
    if small.shell(LIST_STASH):  # a little later, DVC has a stash of its own for a moment
        assert "dvc-exp:" in small.run("git", "stash", "list")
        small.run("git", "stash", "drop")
    small.shell(UNLOCK)
    small.shell(SWITCH)
    params = small.folder / "params.yaml"
    params.write_text(params.read_text()[:cut])
    small.shell(RESTORE)
    assert "b: 5" in (small.folder / "params.yaml").read_text()
    assert_all_is_well(small)


@pytest.mark.parametrize("moment", ["stash", "exps/stash"])
def test_an_experiment_is_killed_in_its_first_second(small: Project, moment: str) -> None:
    kill_dvc(small, *EXPERIMENT, when=(small.folder / ".git/refs" / moment).exists)
    assert " ago}: WIP on main" in small.shell(LIST_STASH)
    (small.folder / "params.yaml").write_text("a:\n")
    small.shell(UNLOCK)
    small.shell(DISCARD)
    small.shell(POP)
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
        listed = project.shell(LIST_TRAININGS).splitlines()
        pids = [int(line.split()[0]) for line in listed]
        here = [pid for pid in pids if Path(f"/proc/{pid}/cwd").resolve() == project.folder]
        stop_training(project, max(here))
        project.shell(SWITCH)
        assert "+# mine" in project.shell(DIFF)
        said = project.run(*command)
        assert "train lab: goes on from iteration " in said
        assert params.read_text().endswith("# mine\n")
        assert "Ran experiment(s)" in said
    finally:
        project.run("git", "switch", "--quiet", "--discard-changes", "main")
        project.run("dvc", "checkout", "--quiet", "--force")
