"""Reads training runs from MLflow, also those of older versions. Creates nothing."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Experiment

from colorgan.errors import ColorganError
from colorgan.tracking.moved import prepare_file
from colorgan.tracking.store import experiment_name, reason, shown, sqlite_file, tracking_uri

SHA256_TAG = "colorgan.generator_sha256"

# An error is one sentence, which is ours.
if os.environ["MLFLOW_LOGGING_LEVEL"] == "CRITICAL":
    for _library in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(_library).setLevel(logging.CRITICAL)


class StoreAwayError(ColorganError):
    """The store cannot be used, whatever the run is."""


def place(uri: str = "") -> str:
    """Return the name of a store, or of the project's, for a sentence."""
    return f"MLflow at {shown(uri or tracking_uri())}"


def open_store(uri: str) -> tuple[MlflowClient, Experiment | None]:
    """Return a client of a store and its experiment, if there is one.

    Raises:
        StoreAwayError: it cannot be reached, is locked or is no store.
        ColorganError: the experiment is deleted.
    """
    try:
        prepare_file(uri)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(experiment_name())
    except ColorganError as error:
        raise StoreAwayError(str(error)) from None
    except Exception as error:
        # A server, a database and its driver each fail in their own way.
        raise StoreAwayError(f"{place(uri)} cannot be used: {reason(error)}") from error
    if experiment and experiment.lifecycle_stage != "active":
        raise ColorganError(
            f"the experiment {experiment.name} of {place(uri)} is deleted: bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return client, experiment


@dataclass(frozen=True)
class TrainingRun:
    """A recorded training run: MLflow's id, a name such as `workspace / train_lab`, and tags."""

    id: str
    name: str
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"run {self.name!r} ({self.id})"

    @property
    def generator_sha256(self) -> str:
        """SHA-256 of its generator.safetensors; empty if it has none."""
        return self.tags.get(SHA256_TAG, "")


class TrainingRuns:
    """The training runs of a store."""

    def __init__(self, uri: str = "") -> None:
        """Open the store of `uri`, or that of the project; ColorganError if it cannot be read."""
        self._uri = uri or tracking_uri()
        file = sqlite_file(self._uri)
        if file is not None and not file.is_file():
            raise ColorganError(
                f"{file} does not exist: no run was recorded yet; `dvc repro` records, and with "
                "--force it records again what is trained already"
            )
        self._client, experiment = open_store(self._uri)
        self._experiments = [experiment.experiment_id] if experiment else []

    def made(self, stage: str, sha256: str) -> TrainingRun | None:
        """Return the newest run of `stage` that made the generator of this SHA-256, if any."""
        condition = f"tags.`{SHA256_TAG}` = '{sha256}' and tags.stage = '{stage}'"
        return next(iter(self._search(condition, 1)), None)

    def named(self, stage: str, wanted: str) -> TrainingRun:
        """Return the newest run of `stage` with weights that has this id or name.

        The name may be that of a DVC experiment: `batch-32` for `batch-32 / train_lab`.

        Raises:
            ColorganError: there is none, it is of another stage, or it has no weights.
        """
        if re.fullmatch("[0-9a-f]{32}", wanted):
            found = self._search(f"attributes.run_id = '{wanted}'", 1)
        else:
            # The UI shows `batch-32 / train_lab`.
            names = {wanted.strip(), f"{wanted.strip()} / {stage}"}
            found = [run for run in self._search(f"tags.stage = '{stage}'") if run.name in names]
        if not found:
            raise ColorganError(
                f"no run of {stage} in MLflow has the id or the name {wanted!r}: "
                "`python -m colorgan ui` shows the runs"
            )
        run = next((run for run in found if run.generator_sha256), found[0])
        of_stage = run.tags.get("stage", "no stage")
        if of_stage != stage:
            raise ColorganError(f"{run} is of {of_stage}; name a run of {stage}")
        if not run.generator_sha256:
            raise ColorganError(f"{run} has no weights: it did not finish; name one that did")
        return run

    def of_any(self, stages: Sequence[str], wanted: str) -> TrainingRun:
        """Return the run of the first of several stages that has it, as `named` does."""
        for stage in stages[:-1]:
            with suppress(ColorganError):
                return self.named(stage, wanted)
        return self.named(stages[-1], wanted)

    def with_weights(self, stage: str, most: int) -> list[TrainingRun]:
        """Return the newest runs of `stage` that have weights, at most so many."""
        return self._search(f"tags.stage = '{stage}' and tags.`{SHA256_TAG}` != ''", most)

    def artifact(self, run: TrainingRun, path: str, folder: Path) -> Path | None:
        """Bring a file of a run to `folder`/`path`; None if the run does not have it."""
        parent = path.rpartition("/")[0] or None
        place = folder / path
        with self._reading():
            there = {file.path for file in self._client.list_artifacts(run.id, parent)}
            if path not in there:
                return None
            place.parent.mkdir(parents=True, exist_ok=True)
            # Some stores keep the folders of the path, others leave them out.
            Path(self._client.download_artifacts(run.id, path, str(place.parent))).replace(place)
        return place

    def kept_score(self, run: TrainingRun) -> float | None:
        """Return `ciede2000_ecf` of the weights that a run has kept; None if it has none."""
        with self._reading():
            points = self._client.get_metric_history(run.id, "val/ciede2000_ecf")
            kept = self._client.get_run(run.id).data.params.get("train.keep")
        if not points:
            return None
        scores = [point.value for point in sorted(points, key=lambda point: point.step)]
        return float(min(scores) if kept == "best" else scores[-1])

    def registered(self, uri: str, folder: Path) -> Path:
        """Bring a registered model, such as `models:/colorgan-lab@champion`; return its folder.

        Raises:
            ColorganError: there is no such model, or `colorgan promote` did not register it.
        """
        with self._reading():
            model = download_artifacts(uri, dst_path=str(folder), tracking_uri=self._uri)
        found = Path(model) / "artifacts" / "model"
        if not found.is_dir():
            raise ColorganError(f"{uri} holds no generator that `colorgan promote` has registered")
        return found

    def tag(self, run: TrainingRun, tags: Mapping[str, str]) -> None:
        """Add tags to a run, or replace those of the same name."""
        with self._reading("written to"):
            for name, value in tags.items():
                self._client.set_tag(run.id, name, value)

    def _search(self, condition: str, most: int = 10_000) -> list[TrainingRun]:
        """Return the newest runs that an MLflow filter matches, the newest first."""
        if not self._experiments:
            return []
        newest = ["attributes.start_time DESC"]
        with self._reading():
            runs = self._client.search_runs(
                self._experiments, condition, max_results=most, order_by=newest
            )
        return [TrainingRun(r.info.run_id, r.info.run_name or "", r.data.tags) for r in runs]

    @contextmanager
    def _reading(self, doing: str = "read") -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # A server, a database and a store of artifacts each fail in their own way.
            raise ColorganError(f"{place(self._uri)} cannot be {doing}: {reason(error)}") from error
