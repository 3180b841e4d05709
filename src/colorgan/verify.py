"""Train a recorded run again in a git worktree, and compare the weights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import load_file

from colorgan import io, paths
from colorgan.config import SpaceName
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError
from colorgan.model import WEIGHTS
from colorgan.runs.runtime import choose_device
from colorgan.tracking.mlflow_read import TrainingRun, TrainingRuns
from colorgan.tracking.store import experiment_name, sqlite_uri

NEW_FILE = b"new, not in git: "
"""Begins the lines that `lineage.git_state` adds to git's diff."""
DECIDES_BITS = (
    "the last bits depend on the device, its number of threads, the precision and the packages: "
    "compare device_name, precision and environment.txt of the run in MLflow with this machine"
)


def verify(space: SpaceName, wanted: str = "") -> str:
    """Train a run again in a git worktree, and compare the generators.

    The worktree lies in `.resume` and is always removed. The result becomes the tag `verified` of
    the run; nothing else of the project changes.

    Args:
        space: the space that the run trained.
        wanted: id or name of the run; empty for the run that made models/<space>.

    Returns:
        How the weights differ; empty if they are the same bit for bit.
    """
    runs = TrainingRuns()
    run = _find_run(runs, space, wanted)
    parent = paths.project_root() / ".resume"
    parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=parent, prefix="verify-") as name:
        recorded = Path(name, "recorded")
        choose_device(run.tags.get("device", "auto"), f"the device of {run}")
        with _worktree(Path(name, "tree"), run, _read_patch(runs, run, recorded)) as project:
            env = _environment(run, project)
            _link_first_weights(runs, run, project)
            _link_arrays(space, run, project, env)
            _train(space, project, env)
            difference = _compare(runs, run, recorded, project / paths.model(space) / WEIGHTS)
    # A store that is away now must not cost the answer.
    with suppress(ColorganError):
        runs.tag(run, "verified", difference or "bit for bit")
    return difference


def _find_run(runs: TrainingRuns, space: str, wanted: str) -> TrainingRun:
    stage, weights = f"train_{space}", paths.model(space) / WEIGHTS
    if wanted:
        return runs.named(wanted, stage)
    run = runs.made(stage, io.sha256(weights)) if weights.is_file() else None
    if run is None:
        raise ColorganError(
            f"no run of {stage} in MLflow made {weights}: name a run with --run (`python -m "
            "colorgan ui` shows them), or record it again: `dvc repro --force --single-item "
            f"{stage}`"
        )
    return run


def _read_patch(runs: TrainingRuns, run: TrainingRun, folder: Path) -> bytes:
    """Return the changes of tracked files that were not committed when the run began."""
    file = runs.artifact(run, "git.diff", folder)
    if file is None and run.tags.get("git.dirty") == "true":
        raise ColorganError(f"the code of {run} cannot be restored: its git.diff is missing")
    lines = file.read_bytes().splitlines(keepends=True) if file else []
    new = [line for line in lines if line.startswith(NEW_FILE)]
    code = [line.removeprefix(NEW_FILE).decode().strip() for line in new if b"src/" in line]
    if code:
        raise ColorganError(
            f"the code of {run} cannot be restored: {', '.join(code)} was not in git; commit "
            "before you train"
        )
    return b"".join(line for line in lines if line not in new)


@contextmanager
def _worktree(folder: Path, run: TrainingRun, patch: bytes) -> Iterator[Path]:
    """Yield this project as it was when the run began: a worktree of its commit, patched."""
    commit = run.tags.get("mlflow.source.git.commit")
    if not commit:
        raise ColorganError(f"{run} was made without git, so its code is not known")
    changes = " with uncommitted changes" if patch else ""
    print(f"verify: {run}, commit {commit[:10]}{changes}", flush=True)
    try:
        _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        if patch:
            _git("-C", str(folder), "apply", "--whitespace=nowarn", "-", input=patch)
        yield folder / _git("rev-parse", "--show-prefix").decode().strip()
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise ColorganError(
            f"the code of {run} cannot be restored: git says {said!r} of commit {commit[:10]} or "
            "of the recorded git.diff; if the commit is missing, fetch its branch"
        ) from None
    finally:
        with suppress(subprocess.CalledProcessError):
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str, input: bytes | None = None) -> bytes:
    # No hooks: one of DVC's would check out data.
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    return subprocess.run(command, input=input, capture_output=True, check=True).stdout


def _environment(run: TrainingRun, project: Path) -> dict[str, str]:
    """Return the environment in which the worktree's code runs and records into the worktree."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
    env |= {
        "PYTHONPATH": str(project / "src"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", ""))),
        "MLFLOW_TRACKING_URI": sqlite_uri(project / "mlflow.db"),
        "MLFLOW_EXPERIMENT_NAME": experiment_name(),
        "DVC_SITE_CACHE_DIR": str(project / ".dvc" / "tmp" / "site"),
    }
    # The sums of a CPU depend on its number of threads.
    if threads := re.search(r"(\d+) threads", run.tags.get("device_name", "")):
        env["OMP_NUM_THREADS"] = threads[1]
    return env


def _link_first_weights(runs: TrainingRuns, run: TrainingRun, project: Path) -> None:
    """Provide the folder or the MLflow run that `train.init` names as a folder of the worktree."""
    init = run.tags.get("init", "")
    folder = paths.expanded(init).absolute()
    if init in ("", "pretrained") or (project / paths.expanded(init)).exists():
        return
    if not folder.is_dir():
        stage, sha256 = run.tags["stage"], run.tags.get("init.generator_sha256", "")
        first = runs.made(stage, sha256) or runs.named(init, stage)
        folder = runs.model(first, project.parent / "init")
    (project / init).parent.mkdir(parents=True, exist_ok=True)
    (project / init).symlink_to(folder)


def _link_arrays(space: SpaceName, run: TrainingRun, project: Path, env: dict[str, str]) -> None:
    """Link data/processed/<space> into the worktree, or let DVC restore it there."""
    arrays, digest = paths.processed(space), run.tags.get("data.digest", "")
    if _digest_of(arrays) == digest:
        (project / arrays).parent.mkdir(parents=True, exist_ok=True)
        (project / arrays).symlink_to(arrays.resolve())
        return
    for name in ("cache", "config.local"):
        if Path(".dvc", name).exists():
            (project / ".dvc" / name).symlink_to(Path(".dvc", name).absolute())
    command = [sys.executable, "-m", "dvc", "repro", f"preprocess@{space}"]
    subprocess.run(command, cwd=project, env=env, check=False)
    if _digest_of(project / arrays) != digest:
        raise ColorganError(
            f"the photos of {run} are gone: neither {arrays} nor DVC's cache has those of digest "
            f"{digest[:12]}, and preprocess does not make them again; `dvc pull`, or bring back "
            f"what was in {space}.path"
        )


def _digest_of(arrays: Path) -> str | None:
    with suppress(ColorganError):
        return read_info(arrays).digest
    return None


def _train(space: SpaceName, project: Path, env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "colorgan", "train", space]
    with subprocess.Popen(command, cwd=project, env=env) as training:
        try:
            code = training.wait()
        except BaseException:
            training.terminate()
            raise
    if code:
        error = ColorganError(f"the training failed with exit code {code}: nothing was compared")
        error.exit_code = code if code > 0 else 128 - code
        raise error


def _compare(runs: TrainingRuns, run: TrainingRun, recorded: Path, weights: Path) -> str:
    """Return how a retrained generator differs from the recorded one."""
    if io.sha256(weights) == run.generator_sha256:
        return ""
    kept = runs.artifact(run, f"model/{WEIGHTS}", recorded)
    if kept and io.sha256(kept) == run.generator_sha256:
        return f"the retrained generator differs {weights_difference(kept, weights)}"
    return (
        "the retrained generator differs; MLflow has no copy of the recorded weights to compare "
        "with"
    )


def weights_difference(recorded: Path, retrained: Path) -> str:
    """Say by how much the weights of two generator.safetensors differ."""
    ours, theirs = load_file(recorded), load_file(retrained)
    if {name: w.shape for name, w in ours.items()} != {n: w.shape for n, w in theirs.items()}:
        return "in its layers or their shapes"
    gaps = {name: float(np.abs(w - theirs[name]).max()) for name, w in ours.items()}
    name = max(gaps, key=gaps.__getitem__)
    reach = np.abs(ours[name]).max()
    return f"by up to {gaps[name]:.3g}, in {name}, whose weights reach {reach:.3g}"
