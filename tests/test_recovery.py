"""After a kill of DVC: `colorgan recover`, and then the same command again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from colorgan.errors import ColorganError
from colorgan.processes import find, working_directory
from colorgan.recovery import recover
from colorgan.recovery.leftovers import beginning

PARAMS = "# what is trained\na:\n  b: 1   # the b\n  c: 2\n"
EDITED = PARAMS.replace("c: 2", "c: 7")
RUNNING = EDITED.replace("b: 1", "b: 5")
# Writes its pid beside the project's root, then works as long as the file `slow` is there.
STAGE = """
    import os, time
    from pathlib import Path

    root = Path(os.environ["DVC_ROOT"])
    (root / "pids" / str(os.getpid())).touch()
    while (root / "slow").exists():
        time.sleep(0.02)
    Path("out.txt").write_text(Path("params.yaml").read_text())
"""
PIPELINE = """
    stages:
      train_it:
        cmd: python stage.py
        deps: [stage.py]
        params: [a]
        outs: [out.txt]
"""
COMMAND = ("exp", "run", "-S", "a.b=5")


@dataclass(frozen=True)
class Scratch:
    """A small DVC project; each of its methods is what a person would do in it."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_"))}
        env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_NAME": "Tester", f"GIT_{role}_EMAIL": "tester@example.org"}
        return env | {"SHELL": "/bin/sh", "DVC_NO_ANALYTICS": "1"}

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            return subprocess.Popen(
                ["dvc", *arguments], cwd=self.folder, env=self.env, stdout=log, stderr=log
            )

    def kill(self, *arguments: str, when: Callable[[], object] | None = None) -> int:
        """Start DVC, SIGKILL it when its stage runs (or `when`), return the pid of the stage."""
        (self.folder / "slow").touch()
        process = self.start(*arguments)
        wait_for(when or self.pids)
        process.kill()
        process.wait()
        return max(self.pids(), default=0)

    def pids(self) -> list[int]:
        return [int(file.name) for file in (self.folder / "pids").iterdir()]

    def end_stages(self) -> None:
        (self.folder / "slow").unlink(missing_ok=True)
        wait_for(lambda: not any(find(pid) for pid in self.pids()))
        for file in (self.folder / "pids").iterdir():
            file.unlink()

    def head(self) -> str:
        return (self.folder / ".git/HEAD").read_text().strip()

    def refs(self) -> str:
        return self.run("git", "for-each-ref", "--format=%(refname)")

    @property
    def params(self) -> Path:
        return self.folder / "params.yaml"


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.001)


def copy(project: Scratch, folder: Path) -> Scratch:
    shutil.copytree(project.folder, folder)
    return Scratch(folder)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Scratch:
    """A project that has been run and committed."""
    project = Scratch(tmp_path_factory.mktemp("recovery") / "healthy")
    project.folder.mkdir()
    (project.folder / "pids").mkdir()
    (project.folder / ".gitignore").write_text("/pids\n/slow\n")
    (project.folder / "stage.py").write_text(textwrap.dedent(STAGE))
    (project.folder / "dvc.yaml").write_text(textwrap.dedent(PIPELINE))
    project.params.write_text(PARAMS)
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "init", "--quiet")
    project.run("dvc", "repro", "--quiet")
    project.end_stages()
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "first")
    return project


@pytest.fixture(scope="module")
def killed_experiment(healthy: Scratch) -> Scratch:
    """A project with an edit, in which `dvc exp run -S a.b=5` and its stage were killed."""
    project = copy(healthy, healthy.folder.with_name("killed"))
    project.params.write_text(EDITED)
    (project.folder / "note.txt").write_text("mine")
    os.kill(project.kill(*COMMAND), signal.SIGKILL)
    return project


@pytest.fixture
def project(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scratch]:
    """A copy of the healthy project, or of the one that `param` names; the working directory."""
    source = request.getfixturevalue(getattr(request, "param", "healthy"))
    project = copy(source, tmp_path / "project")
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        monkeypatch.delenv(name)
    for name, value in project.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.folder)
    yield project
    for pid in project.pids():
        if find(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def kill_while_it_begins(
    project: Scratch,
    healthy: Scratch,
    prepare: Callable[[], object] = lambda: None,
    when: Callable[[], object] | None = None,
) -> None:
    """Prepare the project and kill an experiment in it while HEAD is detached for the first time.

    That is a fraction of a second; where it was missed, all is done again with a new copy.
    """
    for _ in range(6):
        prepare()
        reached = when or (lambda: not project.head().startswith("ref:"))
        # Its stage runs: that was too late.
        project.kill(*COMMAND, when=lambda: reached() or project.pids())  # noqa: B023
        if beginning(project.folder) is not None and not project.head().startswith("ref:"):
            return
        project.end_stages()
        shutil.rmtree(project.folder)
        copy(healthy, project.folder)
        os.chdir(project.folder)
    pytest.fail("DVC was never met while it began")


after_a_kill = pytest.mark.parametrize("project", ["killed_experiment"], indirect=True)


def recovered(*, yes: bool = True) -> tuple[int, str]:
    said: list[str] = []
    code = recover(yes=yes, say=said.append)
    return code, "\n".join(said)


def test_nothing_to_mend(project: Scratch) -> None:
    assert recovered() == (0, "nothing to mend")
    project.run("dvc", *COMMAND)
    assert recovered() == (0, "nothing to mend"), "what an experiment leaves that ended well"


def test_after_a_kill_of_an_experiment_the_same_command_goes_on(project: Scratch) -> None:
    project.params.write_text(EDITED)
    orphan = project.kill(*COMMAND)
    assert project.params.read_text() == RUNNING
    assert not project.head().startswith("ref:")

    code, said = recovered(yes=False)
    assert code == 1
    assert said.endswith("nothing was changed; `python -m colorgan recover --yes` mends it")
    assert project.params.read_text() == RUNNING

    code, said = recovered()
    assert code == 0
    assert f"process {orphan} runs stage train_it on without its DVC" in said
    assert f"kill {orphan}" in said
    assert "params.yaml has the values of `dvc exp run -S a.b=5`" in said
    assert "-  b: 1   # the b\n    +  b: 5   # the b" in said
    assert "it goes back to main" in said
    assert ".dvc/tmp/rwlock names a DVC that is dead" in said
    assert find(orphan), "it is only named"
    assert project.params.read_text() == EDITED
    assert project.params.with_name("params.yaml.before-recover").read_text() == RUNNING
    assert project.head() == "ref: refs/heads/main"
    assert project.refs() == "refs/heads/main"
    assert json.loads((project.folder / ".dvc/tmp/rwlock").read_text()) == {}
    changed = project.run("git", "status", "--porcelain")
    assert changed == "M params.yaml\n?? params.yaml.before-recover"

    code, said = recovered()
    assert (code, said.splitlines()[-1]) == (0, "nothing to mend")
    project.end_stages()
    assert recovered() == (0, "nothing to mend")
    project.run("dvc", *COMMAND)
    assert (project.folder / "out.txt").read_text() == RUNNING
    assert project.head() == "ref: refs/heads/main"


@after_a_kill
def test_a_params_file_edited_since_is_left(project: Scratch) -> None:
    project.params.write_text(RUNNING + "d: 3\n")
    code, said = recovered()
    assert code == 1
    assert "it was edited since, so it is left as it is" in said
    assert project.params.read_text() == RUNNING + "d: 3\n"
    command = said.partition("before the experiment: ")[2].splitlines()[0]
    assert project.run(*command.split()) == EDITED.strip(), "the command that is said works"
    assert project.head() == "ref: refs/heads/main"


@after_a_kill
def test_no_copy_is_written_over(project: Scratch) -> None:
    older = project.params.with_name("params.yaml.before-recover")
    older.write_text("mine")
    assert "params.yaml.before-recover-2" in recovered()[1]
    assert older.read_text() == "mine"


@after_a_kill
def test_a_commit_made_since_is_not_lost(project: Scratch) -> None:
    project.run("git", "add", "note.txt")
    project.run("git", "commit", "--quiet", "--message", "on no branch")
    at = project.head()
    code, said = recovered()
    assert code == 1
    assert "a commit that no branch has: keep it with `git branch NAME" in said
    assert project.head() == at


@after_a_kill
def test_a_branch_that_has_moved_on_is_left_to_the_person(project: Scratch) -> None:
    tree = project.run("git", "rev-parse", "HEAD^{tree}")
    later = project.run("git", "commit-tree", tree, "-p", "HEAD", "-m", "later")
    project.run("git", "update-ref", "refs/heads/main", later)
    code, said = recovered()
    assert code == 1
    assert "main has moved on since: go back with `git switch main`" in said
    assert not project.head().startswith("ref:")


@after_a_kill
def test_a_branch_that_cannot_be_known_is_not_guessed(project: Scratch) -> None:
    (project.folder / ".git/logs/HEAD").unlink()
    code, said = recovered()
    assert code == 1
    assert "does not tell from which branch: go back with `git switch BRANCH`" in said
    assert not project.head().startswith("ref:")


@after_a_kill
def test_after_the_next_experiment_head_still_goes_back(project: Scratch) -> None:
    project.end_stages()
    project.run("dvc", *COMMAND)
    assert not project.head().startswith("ref:"), "DVC goes back to where it began"
    assert "it goes back to main" in recovered()[1]
    assert project.head() == "ref: refs/heads/main"
    assert "refs/exps/" in project.refs(), "its experiment is kept"


def test_a_head_that_the_person_detached_is_left(project: Scratch) -> None:
    project.run("dvc", *COMMAND)
    project.run("git", "switch", "--quiet", "--detach")
    at = project.head()
    for name in project.refs().splitlines():
        if name.startswith("refs/exps/exec/"):
            project.run("git", "update-ref", "-d", name)
    assert recovered() == (0, "nothing to mend")
    assert project.head() == at


@pytest.mark.parametrize(("edits", "late"), [(True, False), (False, False), (False, True)], ids=str)
def test_a_kill_while_an_experiment_begins(
    project: Scratch, healthy: Scratch, edits: bool, late: bool
) -> None:
    before = EDITED if edits else PARAMS
    staged = ""

    def prepare() -> None:
        nonlocal staged
        project.params.write_text(before)
        if edits:
            with (project.folder / "stage.py").open("a") as file:
                file.write("# mine\n")
            project.run("git", "add", "stage.py")
        staged = project.run("git", "status", "--porcelain")

    # DVC has detached HEAD and writes the values of -S, or has staged them with its arguments.
    arguments = project.folder / ".dvc/tmp/repro.dat"
    kill_while_it_begins(project, healthy, prepare, arguments.exists if late else None)
    code, said = recovered()
    assert code == 0, said
    assert ("your changes since the last commit lie in `git stash`" in said) == edits
    assert project.head() == "ref: refs/heads/main"
    assert project.params.read_text() == before
    lines = project.run("git", "status", "--porcelain").splitlines()
    left = [line for line in lines if not line.endswith(".before-recover")]
    assert "\n".join(left) == staged
    assert project.run("git", "stash", "list") == ""
    assert project.refs() == "refs/heads/main", "else DVC would run it with the next one"
    assert recovered() == (0, "nothing to mend")


@pytest.mark.parametrize("edits", [True, False], ids=str)
def test_a_params_file_edited_since_an_experiment_began_is_left(
    project: Scratch, healthy: Scratch, edits: bool
) -> None:
    kill_while_it_begins(
        project, healthy, lambda: project.params.write_text(EDITED if edits else PARAMS)
    )
    project.params.write_text(RUNNING + "d: 3\n")
    an_hour_later = time.time() + 3600
    os.utime(project.params, (an_hour_later, an_hour_later))
    code, said = recovered()
    assert code == 1
    assert ("params.yaml changed since, so put them back yourself" in said) == edits
    assert ("it was edited since, so it is left as it is" in said) != edits
    assert project.params.read_text() == RUNNING + "d: 3\n"
    assert bool(project.run("git", "stash", "list")) == edits
    assert project.head() == "ref: refs/heads/main"


def add_to_stage(project: Scratch) -> None:
    with (project.folder / "stage.py").open("a") as file:
        file.write("# mine\n")


def test_stashed_edits_are_not_laid_over_newer_ones(project: Scratch, healthy: Scratch) -> None:
    kill_while_it_begins(project, healthy, lambda: add_to_stage(project))
    time.sleep(0.01)
    (project.folder / "stage.py").write_text("# newer\n")
    code, said = recovered()
    assert code == 1
    assert "stage.py changed since, so put them back yourself with `git stash pop`" in said
    assert (project.folder / "stage.py").read_text() == "# newer\n"
    assert project.run("git", "stash", "list")


def test_a_file_that_dvc_had_half_written_is_not_an_edit(
    project: Scratch, healthy: Scratch
) -> None:
    kill_while_it_begins(project, healthy, lambda: add_to_stage(project))
    mine = (healthy.folder / "stage.py").read_text() + "# mine\n"
    (project.folder / "stage.py").write_text(mine[:-3])
    assert recovered()[0] == 0
    assert (project.folder / "stage.py").read_text() == mine


def test_a_stash_of_the_person_is_left(project: Scratch, healthy: Scratch) -> None:
    def prepare() -> None:
        project.params.write_text(EDITED)
        project.run("git", "stash", "--quiet")

    kill_while_it_begins(project, healthy, prepare)
    assert recovered()[0] == 0
    assert project.params.read_text() == PARAMS
    assert len(project.run("git", "stash", "list").splitlines()) == 1


def edit_params(project: Scratch) -> None:
    project.params.write_text(RUNNING + "d: 3\n")


def stash(project: Scratch) -> None:
    add_to_stage(project)
    project.run("git", "stash", "push", "--quiet", "stage.py")


def go_back_by_hand(project: Scratch) -> None:
    project.run("git", "symbolic-ref", "HEAD", "refs/heads/main")


@after_a_kill
@pytest.mark.parametrize("change", [edit_params, stash, go_back_by_hand])
def test_what_changes_while_the_person_is_asked_stops_the_mending(
    project: Scratch, change: Callable[[Scratch], None]
) -> None:
    def answer(question: str) -> bool:
        change(project)
        return True

    state = project.head(), project.params.read_text(), project.refs()
    with pytest.raises(ColorganError, match="something has changed since it was looked at"):
        recover(say=lambda line: None, ask=answer)
    now = project.head(), project.params.read_text(), project.refs()
    assert sum(a != b for a, b in zip(state, now, strict=True)) == 1, "the change alone"
    assert recovered()[0] == (1 if change is edit_params else 0)


@after_a_kill
def test_a_dvc_that_begins_while_the_person_is_asked_stops_the_mending(project: Scratch) -> None:
    began: list[subprocess.Popen[bytes]] = []

    def answer(question: str) -> bool:
        before = set(project.pids())
        began.append(project.start("repro"))
        wait_for(lambda: set(project.pids()) - before)
        return True

    project.end_stages()
    (project.folder / "slow").touch()
    with pytest.raises(ColorganError, match="DVC is at work here"):
        recover(say=lambda line: None, ask=answer)
    assert not project.head().startswith("ref:")
    project.end_stages()
    assert began[0].wait() == 0


def test_after_a_kill_of_repro(project: Scratch) -> None:
    project.params.write_text(EDITED)
    orphan = project.kill("repro")
    code, said = recovered()
    assert code == 0
    assert f"process {orphan} runs stage train_it on" in said
    assert ".dvc/tmp/rwlock names a DVC that is dead" in said
    assert project.params.read_text() == EDITED
    project.end_stages()
    project.run("dvc", "repro")
    assert (project.folder / "out.txt").read_text() == EDITED


def test_a_dvc_that_works_is_left_alone(project: Scratch) -> None:
    (project.folder / "slow").touch()
    project.params.write_text(EDITED)
    dvc = project.start("repro")
    wait_for(project.pids)
    with pytest.raises(ColorganError, match=rf"DVC is at work here \(process {dvc.pid}: .*repro"):
        recover(yes=True)
    (project.folder / "slow").unlink()
    assert dvc.wait() == 0


def test_a_dvc_that_a_script_runs_is_left_alone(project: Scratch) -> None:
    """Its entry in the lock has the script's command, which has nothing of DVC."""
    (project.folder / "slow").touch()
    script = project.folder / "build.py"
    script.write_text("from dvc.repo import Repo\nRepo().reproduce()\n")
    project.params.write_text(EDITED)
    dvc = subprocess.Popen([sys.executable, str(script), ""], env=project.env)
    wait_for(project.pids)
    said = rf"DVC is at work here \(process {dvc.pid}: .*build.py.*stop it with `kill {dvc.pid}`"
    with pytest.raises(ColorganError, match=said):
        recover(yes=True)
    (project.folder / "slow").unlink()
    assert dvc.wait() == 0


def test_a_dvc_that_is_in_no_lock_of_files_is_left_alone(project: Scratch) -> None:
    """As one that looks for changes, or commits an experiment: it holds the project's lock."""
    code = "from dvc.repo import Repo\nwith Repo().lock:\n    print(flush=True)\n    input()"
    dvc = subprocess.Popen(
        [sys.executable, "-c", code],
        env=project.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert dvc.stdout
    dvc.stdout.readline()
    with pytest.raises(ColorganError, match=rf"DVC is at work here \(process {dvc.pid}: .*"):
        recover(yes=True)
    # The pid in there is now that of a process that began later: it is not to be killed.
    os.utime(project.folder / ".dvc/tmp/lock", (1000, 1000))
    with pytest.raises(ColorganError, match=r"\(it holds \.dvc/tmp/lock\): wait for it and rec"):
        recover(yes=True)
    dvc.kill()
    dvc.communicate()
    assert recovered() == (0, "nothing to mend")


def test_a_dvc_between_two_stages_of_an_experiment_is_left_alone(project: Scratch) -> None:
    note = project.folder / ".dvc/tmp/exps/run/workspace/workspace.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"pid": os.getpid()}))
    with pytest.raises(ColorganError, match=rf"\(process {os.getpid()}: dvc exp run\)"):
        recover(yes=True)
    os.utime(note, (1000, 1000))
    assert "marks of a running experiment are left" in recovered()[1]


def test_a_pid_that_is_now_another_process_is_dead(project: Scratch) -> None:
    file = project.folder / ".dvc/tmp/rwlock"
    holder = {"pid": os.getpid(), "cmd": "/somewhere/dvc repro"}
    file.write_text(json.dumps({"write": {str(project.params): holder}, "read": {}}))
    # Long before this process began.
    os.utime(file, (1000, 1000))
    assert subprocess.run(["dvc", "repro"], env=project.env, check=False).returncode != 0
    assert f"names a DVC that is dead (process {os.getpid()})" in recovered()[1]
    project.run("dvc", "repro")


def test_a_lock_that_was_cut_short_is_removed(project: Scratch) -> None:
    file = project.folder / ".dvc/tmp/rwlock"
    file.write_text('{"write": {"/a')
    assert "was cut short, and DVC refuses it; removed" in recovered()[1]
    assert not file.exists()


def test_a_lock_of_git_that_nobody_holds_is_removed(project: Scratch) -> None:
    lock = project.folder / ".git/refs/exps/stash.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    assert f"{lock} is left over" in recovered()[1]
    assert not lock.exists()
    lock.touch()
    assert find_after(lock, seconds=0.5) == (0, "nothing to mend"), "one that a git lets go of"


def find_after(lock: Path, seconds: float) -> tuple[int, str]:
    """Recover while a lock is let go of after so many seconds."""
    letting_go = subprocess.Popen(["sh", "-c", f"sleep {seconds}; rm '{lock}'"])
    try:
        return recovered()
    finally:
        letting_go.wait()


def test_a_git_that_works_elsewhere_in_the_repository_holds_its_lock(
    project: Scratch, tmp_path: Path
) -> None:
    """DVC lies in a folder of the repository here, the git works beside it."""
    other = Scratch(tmp_path / "other")
    inner = Scratch(other.folder / "inner")
    inner.folder.mkdir(parents=True)
    other.run("git", "init", "--quiet")
    inner.run("dvc", "init", "--quiet", "--subdir")
    lock = other.folder / ".git/index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 60,) * 2)
    os.chdir(inner.folder)
    working = subprocess.Popen(["git", "60"], executable=shutil.which("sleep"), cwd=other.folder)
    try:
        assert recovered() == (0, "nothing to mend")
    finally:
        working.kill()
        working.wait()
    assert "is left over, and git refuses to work; removed" in recovered()[1]
    assert not lock.exists()


@after_a_kill
def test_a_repository_that_the_environment_names_is_not_meant(
    project: Scratch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As inside a hook of git's, from which `recover` may be started."""
    other = Scratch(tmp_path / "other")
    other.folder.mkdir()
    other.run("git", "init", "--quiet")
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.folder / ".git/index"))
    assert "it goes back to main" in recovered()[1]
    assert project.params.read_text() == EDITED
    assert project.head() == "ref: refs/heads/main"


def test_the_copy_of_a_killed_temporary_run_is_removed_when_its_stage_ends(
    project: Scratch,
) -> None:
    project.params.write_text(EDITED)
    orphan = project.kill("exp", "run", "--temp", "-S", "a.b=5")
    copies = project.folder / ".dvc/tmp/exps/standalone"
    code, said = recovered()
    assert (code, said.splitlines()[-1]) == (0, "nothing to mend")
    assert f"process {orphan} runs stage train_it on" in said
    assert list(copies.glob("tmp*"))
    project.end_stages()
    assert "is the copy of the project that a killed experiment ran in; removed" in recovered()[1]
    assert not list(copies.glob("tmp*"))
    assert "Running" not in project.run("dvc", "exp", "show", "--csv", "--no-pager")
    assert project.params.read_text() == EDITED


def test_a_queue_that_works_is_left_alone(project: Scratch) -> None:
    """Its worker makes a copy, starts a DVC that goes there, and takes the results out at the end.

    It is stopped at two moments at which nothing works in the copy.
    """
    project.run("dvc", "exp", "run", "--queue", "--name", "queued", "-S", "a.b=5")
    project.start("queue", "start").wait()
    exps = project.folder / ".dvc/tmp/exps"

    def started() -> list[int]:
        """The worker, and the DVC that it has started."""
        notes = [*exps.glob("celery/dvc-exp-worker-*.json"), *exps.glob("run/*/*.json")]
        return [json.loads(note.read_text())["pid"] for note in notes]

    def status() -> list[int]:
        found = []
        for file in exps.glob("run/*/*.run"):
            with suppress(ValueError):
                found.append(json.loads(file.read_text())["status"])
        return found

    def results_wait() -> bool:
        return status() == [3] and not find(started()[1])

    def stop_outside_a_write(pids: list[int]) -> None:
        """Stopped for good in the middle of writing DVC's lock, they would be as good as dead."""
        lock = exps / "rwlock"
        while True:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            if not lock.exists() or lock.read_text().strip().endswith("}"):
                return
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)

    try:
        for moment in (lambda: len(started()) == 2, results_wait):
            wait_for(moment)
            living = [pid for pid in started() if find(pid)]
            stop_outside_a_write(living)
            (copy_in_use,) = exps.glob("tmp*")
            assert copy_in_use not in map(working_directory, living)
            assert recovered() == (0, "nothing to mend")
            for pid in living:
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: status() == [6])
    finally:
        for pid in filter(find, started()):
            os.kill(pid, signal.SIGKILL)
    assert any(name.endswith("/queued") for name in project.refs().splitlines())


def test_a_queued_experiment_that_was_cut_off_is_named(project: Scratch) -> None:
    place = project.folder / ".dvc/tmp/exps/run/0123456"
    place.mkdir(parents=True)
    info = {"name": "grey-cat", "status": 2, "root_dir": "gone", "location": "dvc-task"}
    (place / "0123456.run").write_text(json.dumps(info))
    (place / "0123456.json").write_text(json.dumps({"pid": 2**22 + 1, "returncode": None}))
    code, said = recovered()
    assert code == 1
    assert "grey-cat was cut off: `dvc queue kill grey-cat`, `dvc queue remove grey-cat`" in said


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ColorganError, match="is not in a git repository with DVC"):
        recover()
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(ColorganError, match="is not in a git repository: run `colorgan recover`"):
        recover()
