"""A project of its own for the tests: a copy of what git would commit, preset quick, run once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What every experiment of a project shares, wherever it runs: DVC's own files, the MLflow store and
# half-done work. What is compared is everything else.
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

    def stages_run(self, output: str) -> list[str]:
        """Return the stages that DVC says it ran, in their order."""
        lines = [line for line in output.splitlines() if line.startswith("Running stage '")]
        return [line.split("'")[1] for line in lines]

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file of the workspace."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith(SHARED) and "__pycache__" not in name:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def clean_environment() -> dict[str, str]:
    """Return the environment with the running Python first on PATH and nothing of DVC or MLflow."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env["PATH"]))
    # Other tests keep the cores busy; threads that wait for one another then take long.
    env["OMP_NUM_THREADS"] = "1"
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Tester", f"GIT_{role}_EMAIL": "tester@example.org"}
    return env


def copy_project(folder: Path) -> Project:
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
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which `dvc repro` has run once and its results are committed."""
    copy = copy_project(tmp_path_factory.mktemp("project"))
    output = copy.run("dvc", "repro")
    assert "render_grids" in copy.stages_run(output)
    copy.run("git", "add", "--all")
    copy.run("git", "commit", "--quiet", "-m", "first run")
    return copy
