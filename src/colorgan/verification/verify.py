"""Retraining a recorded run in a clean clone, and saying whether the weights agree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from colorgan import io, paths
from colorgan.config import SpaceName
from colorgan.errors import ColorganError
from colorgan.model import WEIGHTS
from colorgan.tracking import lineage
from colorgan.verification.arrays import provide_arrays
from colorgan.verification.comparison import (
    Difference,
    compare_losses,
    compare_weights,
    likely_reasons,
)
from colorgan.verification.rebuild import clone_at, environment, write_params
from colorgan.verification.record import (
    Record,
    check_device,
    fetch,
    find_run,
    first_weights,
    open_runs,
    threads,
)

if TYPE_CHECKING:
    from colorgan.tracking.mlflow_read import TrainingRun, TrainingRuns

BIT_FOR_BIT = "bit for bit"
UNEXPLAINED = "no reason in the records: same code, parameters, data, packages and device"
PATIENCE = 20
"""Seconds that a training has for its last checkpoint when it is told to end."""


@dataclass(frozen=True)
class Verdict:
    """What came of a verification.

    Attributes:
        agrees: whether the weights are the same to the bit.
        summary: `bit for bit`, or `differs ...`, as the run's tag `verified` has it.
        details: sentences for the terminal.
    """

    agrees: bool
    summary: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        verb = "agrees, " if self.agrees else ""
        head = f"the retrained generator {verb}{self.summary}"
        return "\n".join((head, *(f"  {line}" for line in self.details)))


def verify(space: SpaceName, wanted: str = "", keep: bool = False) -> Verdict:
    """Train a recorded run again from its commit, diff, parameters and data, and compare.

    Everything happens in a clone below `.resume/verify`, which is removed at the end. The run gets
    the tags `verified` and `verified.*`; arrays that had to be made again stay in DVC's cache.
    Nothing else changes.

    Args:
        space: the space that the run trained.
        wanted: id or name of the run; empty for the one that made models/<space>.
        keep: leave the clone where it is, and say where.

    Raises:
        ColorganError: the run is not known or cannot be built again, or its training failed (then
            with the exit code of the training).
    """
    runs = open_runs()
    run = find_run(runs, space, wanted)
    with _temporary_folder(keep) as folder:
        record = fetch(runs, run, folder / "recorded")
        commit = run.tags.get("mlflow.source.git.commit", "")
        if not commit:
            raise ColorganError(f"{run} was made without git, so its code is not known")
        check_device(run)
        _say(f"verify {space}: {run}, commit {commit[:10]}"
             f"{' with uncommitted changes' if record.changes.patch else ''}")  # fmt: skip

        project = clone_at(commit, record.changes, folder / "clone", str(run))
        params = {**record.params, **first_weights(runs, record.params, run, project)}
        for sentence in write_params(project / paths.PARAMS, space, params, run.tags):
            _say(f"parameters: {sentence}")
        env = environment(project, threads(run.tags))
        provide_arrays(space, run.tags.get("data.digest", ""), project, env)
        retrain(space, project, env)

        verdict, facts = _compare(runs, run, record, space, project)
    try:
        runs.tag(run, {"verified": verdict.summary, **facts})
    except ColorganError as error:
        _say(f"the verdict is not recorded: {error}")
    return verdict


def retrain(space: str, project: Path, env: Mapping[str, str]) -> None:
    """Train `space` with the code, parameters and data of `project`, in a process of its own.

    Raises:
        ColorganError: the training failed; with its exit code.
    """
    training = subprocess.Popen(
        [sys.executable, "-m", "colorgan", "train", space], cwd=project, env=dict(env)
    )
    try:
        code = training.wait()
    except BaseException:
        # Told once: in a terminal it has had the Ctrl-C as well.
        training.terminate()
        with suppress(subprocess.TimeoutExpired):
            training.wait(PATIENCE)
        training.kill()
        training.wait()
        raise
    if code:
        error = ColorganError(
            f"the training failed with exit code {code}: nothing can be said of its weights"
        )
        error.exit_code = code if code > 0 else 128 - code
        raise error


def _compare(
    runs: TrainingRuns, run: TrainingRun, record: Record, space: str, project: Path
) -> tuple[Verdict, dict[str, str]]:
    """Compare what the clone trained with the record; the verdict, and facts about it as tags."""
    repeated = project / paths.model(space) / WEIGHTS
    sha256 = io.sha256(repeated)
    # The clone's code may be older than any of these tags.
    again, losses = _repeated(space, project)
    facts = {
        "verified.at": datetime.now(UTC).isoformat(timespec="seconds"),
        "verified.sha256": sha256,
        "verified.torch": metadata.version("torch"),
        "verified.device": again.get("device_name", "unknown"),
    }
    details = []
    altered = record.model is not None and io.sha256(record.model) != run.generator_sha256
    if altered:
        details.append("the model in MLflow is not the one that the run recorded: it was changed")
    elif sha256 == run.generator_sha256:
        return Verdict(True, BIT_FOR_BIT), facts

    difference: Difference | str = "no copy of the recorded weights is left to compare with"
    if record.model is not None:
        difference = compare_weights(record.model, repeated)
    if isinstance(difference, Difference):
        if not difference.differing and not altered:
            note = "the files differ in their header alone"
            return Verdict(True, BIT_FOR_BIT, (note,)), facts
        summary = f"differs in {difference}"
        details += difference.lines()
    else:
        summary = f"differs: {difference}"
    if altered and sha256 == run.generator_sha256:
        details.append("the retrained weights are those that the run recorded (same SHA-256)")
        return Verdict(False, summary, tuple(details)), facts

    details.append(compare_losses(runs.losses(run), losses))
    reasons = likely_reasons(run.tags, again, record.packages, lineage.environment(), record.params)
    if record.changes.lost:
        reasons.append(f"not recorded in git.diff: {', '.join(record.changes.lost)}")
    details += [f"possible reason: {reason}" for reason in reasons] or [UNEXPLAINED]
    return Verdict(False, summary, tuple(filter(None, details))), facts


def _repeated(space: str, project: Path) -> tuple[Mapping[str, str], dict[str, dict[int, float]]]:
    """Return tags and losses of the run in the clone's own store; empty if it recorded none."""
    from colorgan.tracking.mlflow_read import TrainingRuns, sqlite_uri

    with suppress(ColorganError):
        runs = TrainingRuns(sqlite_uri(project / "mlflow.db"))
        run = runs.newest(f"train_{space}")
        if run is not None:
            return run.tags, runs.losses(run)
    return {}, {}


@contextmanager
def _temporary_folder(keep: bool) -> Iterator[Path]:
    """Yield a new folder on the disk of the project, where files can be linked; then remove it."""
    parent = paths.resume("verify")
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        if keep:
            _say(f"the clone is left in {folder / 'clone'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            for empty in (parent, parent.parent):
                with suppress(OSError):
                    empty.rmdir()


def _say(sentence: str) -> None:
    print(sentence, flush=True)
