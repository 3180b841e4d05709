"""A project that the real DVC has run once with preset quick, and copies of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
# Files here are replaced, never written into, so that copies of a project can share them.
LINKED = (".dvc/cache", ".git/objects", "data", "docs/images", "models")
# Not the workspace: DVC's own files, the MLflow store and half-done work.
SHARED = (".git", ".dvc/tmp", ".dvc/cache", "mlflow.db", "mlartifacts", ".mlflow.lock", ".resume")


@dataclass(frozen=True)
class Project:
    """A working copy in which commands are run as a person would."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the project; return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            text=True,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
        return done.stdout

    def shell(self, *commands: str, **replaced: str) -> str:
        """Run commands in one shell that stops at the first that fails; return what they printed.

        `replaced` gives what to put in the place of words that stand for something of one's own.
        """
        script = "\n".join(("set -e", *commands))
        for word, own in replaced.items():
            assert word in script
            script = script.replace(word, own)
        return self.run("bash", "-c", script)

    def stages_run(self, output: str) -> list[str]:
        """Return the stages that DVC says it ran, in their order."""
        lines = [line for line in output.splitlines() if line.startswith("Running stage '")]
        return [line.split("'")[1] for line in lines]

    def client(self) -> MlflowClient:
        """Return MLflow's own client on the project's store."""
        return MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")

    def runs(self) -> dict[str, Run]:
        """Return the runs of the project's store by name."""
        return {run.info.run_name: run for run in runs_of(self.client())}

    def push_to(self, hub: Path) -> None:
        """Make a bare repository that the project pushes to."""
        self.shell(
            f"git init --quiet --bare --initial-branch=main {hub}",
            f"git remote add origin {hub}",
            "git push --quiet --set-upstream origin main",
        )

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file of the workspace."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith(SHARED) and "__pycache__" not in name:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def copy(self, folder: Path) -> Project:
        """Return a copy that can be changed without changing this one."""

        def link_or_copy(source: str, target: str) -> None:
            name = Path(source).relative_to(self.folder).as_posix()
            (os.link if name.startswith(LINKED) else shutil.copy2)(source, target)

        shutil.copytree(self.folder, folder, symlinks=True, copy_function=link_or_copy)
        return Project(folder, self.env)


def runs_of(client: MlflowClient) -> list[Run]:
    """Return all runs of the experiment `colorgan`."""
    experiment = client.get_experiment_by_name("colorgan")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def clean_environment() -> dict[str, str]:
    """Return the environment with the running Python first on PATH and nothing of DVC or MLflow."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Tester", f"GIT_{role}_EMAIL": "tester@example.org"}
    return env


def new_project(folder: Path) -> Project:
    """Copy the files that git tracks or would track into `folder`, as a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout.decode()
    for name in listed.split("\0"):
        # What an earlier run left in the checkout is not the project's.
        if name and (ROOT / name).is_file() and not name.startswith(("reports/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    project = Project(folder, clean_environment())
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("python", "-m", "colorgan", "preset", "quick", "--write")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "-m", "project")
    return project


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project in which `dvc repro` has run and its results are committed; made once."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # what all processes of the session have in common
    folder, done = base / "made", base / "made.done"
    with FileLock(base / "made.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            project = new_project(folder)
            assert "render_grids" in project.stages_run(project.run("dvc", "repro"))
            project.run("git", "add", "--all")
            project.run("git", "commit", "--quiet", "-m", "first run")
            done.touch()
    return Project(folder, clean_environment())


@pytest.fixture(scope="session")
def project(made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the made project for tests that only look at it, or put back what they change."""
    return made.copy(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture
def own_project(made: Project, tmp_path: Path) -> Project:
    """A copy of the made project for one test, which may change it."""
    return made.copy(tmp_path / "project")
