"""Sends runs to MLflow from their folders in `.resume/unsent`, each point once.

A training writes plain files and never waits for the store. Sending asks MLflow what it has and
sends the rest, so it can be stopped and repeated at any place.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from PIL import Image

from colorgan import io, paths
from colorgan.errors import ColorganError, say
from colorgan.tracking.csv_log import LOSSES, VALIDATION, read_rows
from colorgan.tracking.lineage import PARENT_TAG
from colorgan.tracking.mlflow_read import SHA256_TAG, mlflow_errors, open_store
from colorgan.tracking.store import ARTIFACTS, experiment_name, is_remote, tracking_uri
from colorgan.tracking.unsent import FILES, IMAGES, MEASURED_TAG, RunDescription

# The UI then opens on runs and their curves, not on pages for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
TOKEN_TAG = "colorgan.token"

SEND_EVERY = 5.0
"""Seconds between two rounds of sending."""
PATIENCE = 30.0
"""Seconds that the end of a training waits for what is still to be sent."""

# Limits of MLflow's API.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
DIGEST_LENGTH = 36


@mlflow_errors("written to")
def send(run: RunDescription, client: MlflowClient, experiment_id: str) -> str:
    """Send MLflow what it does not have of a run; return its id there. ColorganError if it fails.

    The run is created if need be. If it has ended, its weights are sent too, and how it ended.
    """
    # Before the rest, which is then complete.
    status = run.status
    found = _newest(client, experiment_id, TOKEN_TAG, run.token)
    if found is None:
        # Tagged from the first moment on, so that a kill leaves no run that is not found.
        found = client.create_run(experiment_id, run.started, {TOKEN_TAG: run.token}, run.name)
    run_id, tags = found.info.run_id, found.data.tags
    if "stage" not in tags:
        _describe(run, client, experiment_id, run_id)
    if status is None and found.info.status != "RUNNING":
        client.update_run(run_id, status="RUNNING")
    _send_metrics(run, client, found)
    _send_images(run, client, run_id)
    if run.model and status and run.model["sha256"] != tags.get(SHA256_TAG):
        _send_model(run, run.model, client, run_id)
    if status and status != found.info.status:
        client.set_terminated(run_id, status, run.ended)
    return str(run_id)


def _describe(run: RunDescription, client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Record all that is known of a run before it starts; again, if a kill came half-way."""
    for batch in _batches([Param(k, str(v)) for k, v in run.params.items()], PARAMS_PER_BATCH):
        client.log_batch(run_id, params=batch, synchronous=True)
    if run.dataset:
        dataset = Dataset(
            name=run.dataset["name"],
            digest=run.dataset["digest"][:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": run.dataset["name"]}),
            profile=json.dumps(run.dataset["profile"]),
        )
        context = InputTag("mlflow.data.context", "training")
        client.log_inputs(run_id, [DatasetInput(dataset, [context])])
    client.log_artifacts(run_id, str(run.folder / FILES))
    tags = dict(run.tags)
    # Results are children of a training, trials of a search.
    for tag, of_parent in ((MEASURED_TAG, SHA256_TAG), (PARENT_TAG, TOKEN_TAG)):
        value = tags.get(tag)
        if value and (parent := _newest(client, experiment_id, of_parent, value)):
            tags["mlflow.parentRunId"] = parent.info.run_id
    # Last: a run with these tags is described whole.
    entries = [RunTag(name, value) for name, value in tags.items()]
    client.log_batch(run_id, tags=entries, synchronous=True)


def _send_metrics(run: RunDescription, client: MlflowClient, found: Run) -> None:
    points = [Metric(key, value, run.started, 0) for key, value in run.metrics.items()]
    # The last point of each metric comes with the run. A batch arrives whole or not at all.
    last = {point.key: point.step for point in found.data.to_proto().metrics}
    for file, prefix in ((LOSSES, "train/"), (VALIDATION, "val/")):
        path = run.folder / file
        steps = [step for key, step in last.items() if key.startswith(prefix)]
        for row in read_rows(path, after=min(steps, default=-1)):
            # The file says no time; it was last written when its last row was.
            at = int(path.stat().st_mtime * 1000)
            (_, step), *values = row.items()
            for name, value in values:
                key = name if name == "epoch" else prefix + name
                points.append(Metric(key, float(value), at, int(step)))
    # In order, so that the last step of each metric in the store says what is there.
    new = [point for point in points if point.step > last.get(point.key, -1)]
    for batch in _batches(new, METRICS_PER_BATCH):
        client.log_batch(found.info.run_id, metrics=batch, synchronous=True)


def _send_images(run: RunDescription, client: MlflowClient, run_id: str) -> None:
    """Send pictures, but not those that a resumed training has drawn a second time."""
    images = sorted((run.folder / IMAGES).glob("*.png"))
    there = client.list_artifacts(run_id, IMAGES) if images else []
    names = {Path(file.path).name.partition("+timestamp+")[0] for file in there}
    for path in images:
        if path.stem not in names:
            key, _, step = path.stem.replace("~", "/").partition("+step+")
            with Image.open(path) as image:
                client.log_image(run_id, image, key=key, step=int(step), synchronous=True)
        path.unlink()


def _send_model(
    run: RunDescription, model: dict[str, str], client: MlflowClient, run_id: str
) -> None:
    """Send the weights, if they still lie where they were saved, and their digest."""
    folder, sha256 = paths.project_root() / model["folder"], model["sha256"]
    if sha256 in map(io.sha256, folder.glob("*.safetensors")):
        client.log_artifacts(run_id, str(folder), "model")
    else:
        say(f"the weights of {run} are not in {folder} any more: MLflow gets their digest alone")
    # Last: a run with this tag has its weights whole.
    client.set_tag(run_id, SHA256_TAG, sha256)


class BackgroundSender(threading.Thread):
    """Sends a run every few seconds while it is recorded, with CPU and GPU usage.

    If another process holds the lock of the run, the thread waits for it.
    """

    def __init__(self, recorded: RunDescription, lock: FileLock) -> None:
        super().__init__(name="colorgan-sender", daemon=True)
        self.recorded, self._lock = recorded, lock
        self._problem: ColorganError | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Send until the run has ended."""
        self._lock.acquire()
        store: tuple[MlflowClient, str] | None = None
        monitored = warned = ended = False
        while not ended:
            ended = self._ended.is_set()
            try:
                store = store or connect()
                run_id = send(self.recorded, *store)
                self._problem = None
                if not monitored:
                    monitored = True
                    _start_monitor(run_id)
            except ColorganError as problem:
                self._problem, store = problem, None
                if not (warned or self._ended.is_set()):
                    warned = True
                    say(f"{problem}: training goes on, and what could not be sent is sent later")
            if not ended:
                self._ended.wait(SEND_EVERY)
        if not self._problem:
            self.recorded.remove_sent()
        self._lock.release(force=True)

    def finish(self) -> str:
        """Wait for the rest, but not forever; return a sentence about what is not sent, if any."""
        self._ended.set()
        self.join(PATIENCE)
        if self.is_alive() or self._problem:
            return self.recorded.kept(self._problem or "MLflow does not answer")
        return ""


@mlflow_errors("written to")
def _start_monitor(run_id: str) -> None:
    """Let MLflow record CPU and GPU usage until the run ends or MLflow fails."""
    if find_spec("psutil"):
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        uri = tracking_uri()
        SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri).start()


@mlflow_errors("used")
def connect() -> tuple[MlflowClient, str]:
    """Return a client of the store and the id of the experiment, which is created if need be."""
    remote, root = is_remote(tracking_uri()), paths.project_root()
    # Several processes that create the tables of an empty SQLite store at once crash.
    with nullcontext() if remote else FileLock(root / ".mlflow.lock"):
        client, experiment = open_store()
        if experiment:
            return client, experiment.experiment_id
        # By default artifacts lie below the working directory, which may be a temporary copy that
        # DVC has made; a server chooses their place itself.
        artifacts = None if remote else (root / ARTIFACTS).as_uri()
        return client, client.create_experiment(experiment_name(), artifacts, EXPERIMENT_TAGS)


def _newest(client: MlflowClient, experiment_id: str, tag: str, value: str) -> Run | None:
    """Return the newest run with this tag, if any; deleted ones do not count."""
    condition, order = f"tags.`{tag}` = '{value}'", ["attributes.start_time DESC"]
    runs = client.search_runs([experiment_id], condition, max_results=1, order_by=order)
    return runs[0] if runs else None


def _batches(entries: list[Any], size: int) -> Iterator[list[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
