"""Where a run comes from: the commit and what differs from it, the DVC experiment, the packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from getpass import getuser
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

DIFF_LIMIT = 1_000_000
"""Characters of a diff that are kept; more is data in git rather than a change to read."""

# The stages write these and DVC deletes them before a run: with them no second run were clean.
RESULTS = ("reports", "dvc.lock")

# Names as they are, and from the top of the repository on. `--no-relative` is as new as that
# setting: an older git would refuse it, and then seem to have no diff.
SETTINGS = ("-c", "core.quotepath=off", "-c", "diff.relative=false")

# What points git at a repository of its own choice, as inside a hook.
GIT_PLACES = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}

DVC_VARIABLES = {
    "dvc.experiment": "DVC_EXP_NAME",
    "dvc.baseline": "DVC_EXP_BASELINE_REV",
    "dvc.stage": "DVC_STAGE",
}


@dataclass(frozen=True)
class GitState:
    """What git says about a folder.

    Attributes:
        commit: full hash of HEAD; None without git, a repository or a first commit.
        dirty: whether a file that can decide a result differs from HEAD or is new to git;
            reports and dvc.lock, which the stages write, do not count.
        diff: the change of these files against HEAD, staged or not, and the names of new ones.
    """

    commit: str | None
    dirty: bool
    diff: str


def git_state(cwd: Path) -> GitState:
    """Return commit, dirtiness and diff of the folder `cwd`; empty ones where there is no git."""
    commit = _git(cwd, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return GitState(None, False, "")
    code = ["--", ".", *(f":(exclude){name}" for name in RESULTS)]
    with _doubting_index(cwd) as index:
        options = ["--no-ext-diff", "--no-textconv", "--no-color"]
        # Whatever the user's own settings are, `git apply` is to take it.
        options += ["--src-prefix=a/", "--dst-prefix=b/", "-U3"]
        diff = _git(cwd, "diff", "HEAD", *options, *code, index=index) or ""
        new = _git(cwd, "ls-files", "--others", "--exclude-standard", *code, index=index) or ""
    diff += "".join(f"new, not in git: {name}\n" for name in new.splitlines())
    return GitState(commit.strip(), bool(diff), _capped(diff))


def git_environment(**more: str) -> dict[str, str]:
    """Return the environment in which git takes the repository around the working directory."""
    return {k: v for k, v in os.environ.items() if k not in GIT_PLACES} | more


def experiment() -> dict[str, str]:
    """Return what DVC says of the experiment as tags: its name, baseline commit and stage.

    The name and the baseline are known under `dvc exp run` alone, the stage also under
    `dvc repro`; outside DVC the mapping is empty.
    """
    values = {tag: os.environ.get(name, "") for tag, name in DVC_VARIABLES.items()}
    return {tag: value for tag, value in values.items() if value}


def run_name(stage: str) -> str:
    """Return what a run is called: the DVC experiment, else `workspace`, and its stage.

    The stage is the caller's, such as `evaluate_lab`: DVC's `evaluate` stands for both spaces.
    """
    return f"{experiment().get('dvc.experiment', 'workspace')} / {stage}"


def origin(stage: str, space: str, git: GitState) -> dict[str, str]:
    """Return where a run of `stage` on `space` comes from, as tags; MLflow's own where it has one.

    MLflow itself finds the commit only under `python -m`, not from a console script.
    """
    tags = {
        "stage": stage,
        "space": space,
        "mlflow.source.name": f"colorgan {stage}",
        "mlflow.source.type": "LOCAL",
        **experiment(),
    }
    if git.commit:
        tags["mlflow.source.git.commit"] = git.commit
        tags["git.dirty"] = str(git.dirty).lower()
    # A container may run under a number that no name belongs to.
    with suppress(OSError, KeyError, ImportError):
        tags["mlflow.user"] = getuser()
    return tags


def environment() -> str:
    """Return the Python version, the platform and the installed packages, a line each."""
    packages = {
        f"{name}=={package.version}"
        for package in metadata.distributions()
        if (name := package.name) is not None
    }
    head = [f"Python {platform.python_version()}", platform.platform(), ""]
    return "\n".join([*head, *sorted(packages, key=str.lower)]) + "\n"


@contextmanager
def _doubting_index(cwd: Path) -> Iterator[Path | None]:
    """Yield a copy of git's index that makes git compare content instead of sizes and times.

    Git takes a file for unchanged if size and second of change are those in the index, unless
    the index is no younger. `dvc exp run --temp -S train.batch_size=32` checks params.yaml out
    and rewrites it within a second, in as many characters: git then sees no change.
    """
    name = (_git(cwd, "rev-parse", "--git-path", "index") or "").strip()
    if not (name and (cwd / name).is_file()):
        yield None
        return
    with TemporaryDirectory() as folder:
        copy = Path(shutil.copyfile(cwd / name, Path(folder, "index")))
        os.utime(copy, (1, 1))
        yield copy


def _git(cwd: Path, *arguments: str, index: Path | None = None) -> str | None:
    """Return what git prints, or None if it is not installed or refuses."""
    # No index lock, which would get in the way of git and DVC beside us.
    command = ["git", "--no-optional-locks", *SETTINGS, *arguments]
    env = git_environment(**({"GIT_INDEX_FILE": str(index)} if index else {}))
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def _capped(diff: str) -> str:
    if len(diff) <= DIFF_LIMIT:
        return diff
    return f"{diff[:DIFF_LIMIT]}\n[cut here: the whole diff has {len(diff)} characters]\n"
