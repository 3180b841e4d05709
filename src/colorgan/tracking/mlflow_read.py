"""Reads training runs from MLflow, also those of older versions, and shows them in its UI."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Experiment

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking.store import (
    experiment_name,
    is_remote,
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


@contextmanager
def mlflow_errors(doing: str) -> Iterator[None]:
    """Raise each error of MLflow as a ColorganError: it cannot be `doing`, such as `read`."""
    try:
        yield
    except ColorganError:
        raise
    except Exception as error:
        # A server, a database, its driver and a store of artifacts each fail in their own way.
        raise ColorganError(f"{_place()} cannot be {doing}: {reason(error)}") from error


def _place() -> str:
    return f"MLflow at {redact(tracking_uri())}"


@mlflow_errors("used")
def open_store() -> tuple[MlflowClient, Experiment | None]:
    """Return a client of the project's store and its experiment, if there is one.

    ColorganError if the store cannot be used or the experiment is deleted.
    """
    prepare_file(tracking_uri())
    client = MlflowClient(tracking_uri())
    experiment = client.get_experiment_by_name(experiment_name())
    if experiment and experiment.lifecycle_stage != "active":
        raise ColorganError(
            f"the experiment {experiment.name} of {_place()} is deleted: bring it back with "
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
    """The training runs in the project's store; ColorganError if it cannot be read."""

    def __init__(self) -> None:
        file = sqlite_file(tracking_uri())
        if file is not None and not file.exists():
            raise ColorganError(
                f"{file} does not exist: no run was recorded yet; `dvc repro` records, and with "
                "--force it records again what is trained already"
            )
        self._client, experiment = open_store()
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

    @mlflow_errors("read")
    def artifact(self, run: TrainingRun, path: str, into: Path) -> Path | None:
        """Download a file or folder of a run into a folder; None if the run does not have it."""
        listed = self._client.list_artifacts(run.id, path.rpartition("/")[0] or None)
        if path not in {file.path for file in listed}:
            return None
        into.mkdir(parents=True, exist_ok=True)
        return Path(self._client.download_artifacts(run.id, path, str(into)))

    def model(self, run: TrainingRun, into: Path) -> Path:
        """Download the weights and config.json of a run into a folder; return where they are."""
        folder = self.artifact(run, "model", into)
        if folder is None:
            raise ColorganError(f"{run} has no model in MLflow")
        return folder

    @mlflow_errors("read")
    def kept_score(self, run: TrainingRun) -> float | None:
        """Return `ciede2000_ecf` of the weights that a run has kept; None if it has none."""
        points = self._client.get_metric_history(run.id, "val/ciede2000_ecf")
        if not points:
            return None
        kept = self._client.get_run(run.id).data.params.get("train.keep")
        scores = [point.value for point in sorted(points, key=lambda point: point.step)]
        return float(min(scores) if kept == "best" else scores[-1])

    @mlflow_errors("read")
    def registered(self, uri: str, into: Path) -> Path:
        """Download a registered model (`models:/colorgan-lab@champion`) and return its folder."""
        model = download_artifacts(uri, dst_path=str(into), tracking_uri=tracking_uri())
        found = Path(model) / "artifacts" / "model"
        if not found.is_dir():
            raise ColorganError(f"{uri} holds no generator that `colorgan promote` has registered")
        return found

    @mlflow_errors("written to")
    def tag(self, run: TrainingRun, name: str, value: str) -> None:
        """Add a tag to a run, or replace that of the same name."""
        self._client.set_tag(run.id, name, value)

    @mlflow_errors("read")
    def _search(self, condition: str, most: int = 10_000) -> list[TrainingRun]:
        """Return the runs that an MLflow filter matches, the newest first."""
        if not self._experiments:
            return []
        newest = ["attributes.start_time DESC"]
        runs = self._client.search_runs(
            self._experiments, condition, max_results=most, order_by=newest
        )
        return [TrainingRun(r.info.run_id, r.info.run_name or "", r.data.tags) for r in runs]


def serve_ui(host: str, port: int) -> NoReturn:
    """Turn this process into the server of the MLflow UI, which ends by Ctrl-C or SIGTERM."""
    uri = tracking_uri()
    if is_remote(uri):
        there = redact(uri)
        raise ColorganError(f"the runs are on the server of MLFLOW_TRACKING_URI: open {there}")
    # Says what is wrong with the store, which the server would not.
    TrainingRuns()
    print(f"Runs of {paths.project_root()}: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    # The URI is no argument, which others see. The job runner is for evaluating language models;
    # it would start eight more processes.
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    os.execve(sys.executable, [*command, "--workers", "1"], env | {"MLFLOW_BACKEND_STORE_URI": uri})
