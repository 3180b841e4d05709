"""Reads training runs from MLflow. Creates nothing."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Experiment

from colorgan.errors import ColorganError
from colorgan.tracking.store import (
    experiment_name,
    prepare_file,
    reason,
    redact,
    sqlite_file,
    tracking_uri,
)

SHA256_TAG = "colorgan.generator_sha256"

# An error is one sentence, which is ours.
if os.environ["MLFLOW_LOGGING_LEVEL"] == "CRITICAL":
    for _library in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(_library).setLevel(logging.CRITICAL)


def place(uri: str = "") -> str:
    """Return the name of a store (by default the project's) for messages."""
    return f"MLflow at {redact(uri or tracking_uri())}"


def open_store(uri: str) -> tuple[MlflowClient, Experiment | None]:
    """Return a client of a store and its experiment, if there is one.

    ColorganError if the store cannot be used or the experiment is deleted.
    """
    try:
        prepare_file(uri)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(experiment_name())
    except ColorganError:
        raise
    except Exception as error:
        # A server, a database and its driver each fail in their own way.
        raise ColorganError(f"{place(uri)} cannot be used: {reason(error)}") from error
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
        if file is not None and not file.exists():
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

    def named(self, wanted: str, *stages: str) -> TrainingRun:
        """Return the newest run with weights, of one of these stages, that has this id or name.

        The name may be that of a DVC experiment: `batch-32` for `batch-32 / train_lab`.
        """
        name, of_stages = wanted.strip(), " or ".join(stages)
        if re.fullmatch("[0-9a-f]{32}", name):
            found = self._search(f"attributes.run_id = '{name}'", 1)
        else:
            runs = [run for stage in stages for run in self._search(f"tags.stage = '{stage}'")]
            found = [r for r in runs if r.name in (name, f"{name} / {r.tags['stage']}")]
        if not found:
            raise ColorganError(
                f"no run of {of_stages} in MLflow has the id or the name {wanted!r}: "
                "`python -m colorgan ui` shows the runs"
            )
        run = next((run for run in found if run.generator_sha256), found[0])
        if run.tags.get("stage") not in stages:
            of_stage = run.tags.get("stage", "no stage")
            raise ColorganError(f"{run} is of {of_stage}; name a run of {of_stages}")
        if not run.generator_sha256:
            raise ColorganError(f"{run} has no weights: it did not finish; name one that did")
        return run

    def with_weights(self, stage: str, most: int) -> list[TrainingRun]:
        """Return the newest runs of `stage` that have weights, at most so many."""
        return self._search(f"tags.stage = '{stage}' and tags.`{SHA256_TAG}` != ''", most)

    def artifact(self, run: TrainingRun, path: str, folder: Path) -> Path | None:
        """Download a file of a run to `folder`/`path`; None if the run does not have it."""
        parent = path.rpartition("/")[0] or None
        place = folder / path
        with self._reading():
            if path not in {file.path for file in self._client.list_artifacts(run.id, parent)}:
                return None
            place.parent.mkdir(parents=True, exist_ok=True)
            # Some stores keep the folders of the path, others leave them out.
            Path(self._client.download_artifacts(run.id, path, str(place.parent))).replace(place)
        return place

    def model(self, run: TrainingRun, folder: Path) -> Path:
        """Download the weights and config.json of a run into `folder`; return their folder."""
        with self._reading():
            found = {Path(file.path).name for file in self._client.list_artifacts(run.id, "model")}
            if {"generator.safetensors", "config.json"} <= found:
                folder.mkdir(parents=True, exist_ok=True)
                return Path(self._client.download_artifacts(run.id, "model", str(folder)))
        raise ColorganError(f"{run} has no model in MLflow")

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
        """Download a registered model (`models:/colorgan-lab@champion`) and return its folder."""
        with self._reading():
            model = download_artifacts(uri, dst_path=str(folder), tracking_uri=self._uri)
        found = Path(model) / "artifacts" / "model"
        if not found.is_dir():
            raise ColorganError(f"{uri} holds no generator that `colorgan promote` has registered")
        return found

    def tag(self, run: TrainingRun, name: str, value: str) -> None:
        """Add a tag to a run, or replace that of the same name."""
        with self._reading("written to"):
            self._client.set_tag(run.id, name, value)

    def _search(self, condition: str, most: int = 10_000) -> list[TrainingRun]:
        """Return the runs that an MLflow filter matches, the newest first."""
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
