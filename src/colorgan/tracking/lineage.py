"""Where a run comes from: git commit and diff, DVC experiment, installed packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from contextlib import suppress
from getpass import getuser
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

# Without what the stages write and DVC deletes, or every second run would be dirty.
PATHS = ("--", ".", ":(exclude)reports", ":(exclude)dvc.lock")
# `git apply` at the top of the repository takes this diff, whatever the user's settings are.
DIFF = ("-c", "diff.relative=false", "diff", "HEAD", "--no-ext-diff", "--no-textconv",
        "--no-color", "--binary", "--src-prefix=a/", "--dst-prefix=b/", "-U3")  # fmt: skip

# In the environment of a trial: the token of the search that it is part of, and the folder of the
# project, which is not its working directory.
PARENT, PROJECT = "COLORGAN_PARENT", "COLORGAN_PROJECT"
PARENT_TAG = "colorgan.parent"


def git_state(cwd: Path) -> tuple[str, str]:
    """Return the hash of HEAD and the change against it, staged or not; empty without git.

    The names of files that are new to git follow the diff.
    """
    commit = _git(cwd, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    if not commit:
        return "", ""
    with TemporaryDirectory() as folder:
        # Git compares size and second of change, and the content only of files that are newer than
        # the index. `dvc exp run --temp -S train.batch_size=32` checks params.yaml out and rewrites
        # it within a second, in as many characters: git would miss that, unless the index is old.
        index = Path(folder, "index")
        place = cwd / _git(cwd, "rev-parse", "--git-path", "index").strip()
        if place.is_file():
            shutil.copyfile(place, index)
            os.utime(index, (1, 1))
        diff = _git(cwd, *DIFF, *PATHS, index=index)
        new = _git(cwd, "ls-files", "--others", "--exclude-standard", *PATHS, index=index)
    diff += "".join(f"new, not in git: {name}\n" for name in new.splitlines())
    return commit, diff


def origin(stage: str, commit: str, diff: str) -> dict[str, str]:
    """Return where a run comes from as tags, under MLflow's own names where it has some."""
    tags = {
        "stage": stage,
        "mlflow.source.name": f"colorgan {stage}",
        "mlflow.source.type": "LOCAL",
        # `dvc repro` says the stage alone.
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "dvc.stage": os.environ.get("DVC_STAGE", ""),
        "mlflow.source.git.commit": commit,
        PARENT_TAG: os.environ.get(PARENT, ""),
        "git.dirty": str(bool(diff)).lower() if commit else "",
    }
    # In a container the user may be a number without a name.
    with suppress(OSError, KeyError, ImportError):
        tags["mlflow.user"] = getuser()
    return {name: value for name, value in tags.items() if value}


def environment() -> str:
    """Return the Python version, the platform and the installed packages, each on a line."""
    packages = {f"{found.name}=={found.version}" for found in metadata.distributions()}
    head = [f"Python {platform.python_version()}", platform.platform(), ""]
    return "\n".join([*head, *sorted(packages, key=str.lower)]) + "\n"


def _git(cwd: Path, *arguments: str, index: Path | None = None) -> str:
    """Return what git prints; nothing if it is not installed or refuses."""
    # No index lock, which would get in the way of git and DVC beside us.
    command = ["git", "--no-optional-locks", "-c", "core.quotepath=off", *arguments]
    env = os.environ | ({"GIT_INDEX_FILE": str(index)} if index else {})
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else ""
