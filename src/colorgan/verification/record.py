"""What a run left in MLflow, and all it takes to repeat it, brought here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorgan import io, paths
from colorgan.errors import ColorganError, ParamsError
from colorgan.model import CONFIG, WEIGHTS
from colorgan.runs.runtime import choose_device
from colorgan.verification.rebuild import Changes, read_changes

if TYPE_CHECKING:
    from colorgan.tracking.mlflow_read import TrainingRun, TrainingRuns

INIT_TAG = "init.generator_sha256"
"""What the run went on from, where it did not begin with random weights."""


@dataclass(frozen=True)
class Record:
    """What a run left in MLflow, brought here.

    Attributes:
        params: its resolved parameters by dotted path.
        changes: what differed from its commit.
        packages: its environment.txt; empty if there is none.
        model: its generator.safetensors; None if it was not kept.
    """

    params: Mapping[str, Any]
    changes: Changes
    packages: str
    model: Path | None


def open_runs() -> TrainingRuns:
    """Open the runs of the project; ColorganError if there are none, or no MLflow."""
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise ColorganError(
            "MLflow is not installed, so there are no recorded runs: `pip install "
            "colorgan[pipeline]` brings it"
        ) from None
    return TrainingRuns()


def find_run(runs: TrainingRuns, space: str, wanted: str) -> TrainingRun:
    """Return the run by id or name, else the one that made the model of the working directory."""
    stage = f"train_{space}"
    if wanted:
        return runs.named(stage, wanted)
    weights = paths.model(space) / WEIGHTS
    if not weights.is_file():
        raise ColorganError(
            f"{weights} does not exist: name a run with --run, or `dvc repro {stage}` first"
        )
    sha256 = io.sha256(weights)
    run = runs.made(stage, sha256)
    if run is None:
        raise ColorganError(
            f"no run of {stage} in MLflow made {weights} (SHA-256 {sha256[:12]}): name one with "
            "--run; `python -m colorgan ui` shows the runs"
        )
    return run


def fetch(runs: TrainingRuns, run: TrainingRun, folder: Path) -> Record:
    """Bring what a run recorded into `folder`, and refuse what no code can be made of."""
    diff = runs.artifact(run, "git.diff", folder)
    if diff is None and run.tags.get("git.dirty") == "true":
        raise ColorganError(f"the code of {run} cannot be built again: its git.diff is missing")
    packages = runs.artifact(run, "environment.txt", folder)
    model = runs.artifact(run, f"model/{WEIGHTS}", folder)
    if model is None:
        # It may still be the one in use.
        here = paths.model(run.tags["space"]) / WEIGHTS
        if here.is_file() and io.sha256(here) == run.generator_sha256:
            model = here
    return Record(
        params=runs.params(run, folder),
        changes=read_changes(diff.read_bytes() if diff else b"", str(run)),
        packages=packages.read_text(encoding="utf-8") if packages else "",
        model=model,
    )


def first_weights(
    runs: TrainingRuns, params: Mapping[str, Any], run: TrainingRun, project: Path
) -> dict[str, str]:
    """Return `train.init` as the clone can reach it, where the run went on from other weights.

    They are looked for in the clone, in the working directory and among the runs of MLflow.

    Raises:
        ColorganError: these very weights are not there any more.
    """
    init, then = params.get("train.init", "none"), run.tags.get(INIT_TAG)
    if init == "none":
        return {}
    for folder in (project / init, Path(init).absolute()):
        weights = folder / WEIGHTS
        if weights.is_file() and then in (None, io.sha256(weights)):
            return {"train.init": str(folder)}
    # By its weights: a name may stand for a newer run by now.
    origin = runs.made(run.tags["stage"], then) if then else None
    folder = project / ".resume" / "init"
    names = (f"model/{WEIGHTS}", f"model/{CONFIG}")
    if origin is None or None in [runs.artifact(origin, name, folder) for name in names]:
        raise ColorganError(
            f"{run} went on from the weights of {init!r}"
            f"{f' (SHA-256 {then[:12]})' if then else ''}, which are not to be had any more: "
            "bring that folder back"
        )
    return {"train.init": str(folder / "model")}


def check_device(run: TrainingRun) -> None:
    """Refuse a run of a device that this machine does not have."""
    device = run.tags.get("device", "cpu")
    try:
        choose_device(device)
    except ParamsError:
        name = run.tags.get("device_name", device)
        raise ColorganError(
            f"{run} trained on {device} ({name}), which this machine does not have: verify it on "
            "one that does"
        ) from None


def threads(tags: Mapping[str, str]) -> str | None:
    """Return on how many threads the CPU computed, by which its sums differ, where it is known."""
    found = re.search(r"(\d+) threads", tags.get("device_name", ""))
    return found[1] if found else None
