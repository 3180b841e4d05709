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
from typing import Any, TypeVar

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
from colorgan.tracking.unsent import FILES, IMAGES, MEASURED_TAG, RESUMED_TAG, RunDescription

T = TypeVar("T")
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


class Sender:
    """Finds a run in MLflow or creates it there, and sends what MLflow does not have of it.

    ColorganError if MLflow fails: a new sender goes on from there.
    """

    @mlflow_errors("written to")
    def __init__(self, run: RunDescription) -> None:
        self._run, (client, experiment_id) = run, connect()
        found = _newest(client, experiment_id, TOKEN_TAG, run.token)
        if found is None:
            # Tagged from the first moment on, so that a kill leaves no run that is not found.
            tags = {TOKEN_TAG: run.token}
            found = client.create_run(experiment_id, run.started, tags, run.name)
        self._client, self.run_id = client, found.info.run_id
        if "stage" not in found.data.tags:
            self._describe(experiment_id)
        elif resumed_from := run.tags.get(RESUMED_TAG):
            client.set_tag(self.run_id, RESUMED_TAG, resumed_from)
        self._status = found.info.status
        if run.status is None and self._status != "RUNNING":
            self._status = "RUNNING"
            client.update_run(self.run_id, status=self._status)
        self._sha256 = found.data.tags.get(SHA256_TAG)
        # The last point of each metric comes with the run. A batch arrives whole or not at all.
        self._steps = {point.key: point.step for point in found.data.to_proto().metrics}
        self._rows_read = {LOSSES: 0, VALIDATION: 0}
        images = client.list_artifacts(self.run_id, IMAGES)
        self._images = {Path(file.path).name.partition("+timestamp+")[0] for file in images}

    @mlflow_errors("written to")
    def send(self) -> None:
        """Send what is new; if the run has ended, also its weights and how it ended."""
        status = self._run.status  # before the rest, which is then complete
        self._send_metrics()
        self._send_images()
        if status:
            self._send_model()
            if status != self._status:
                self._client.set_terminated(self.run_id, status, self._run.ended)

    def _describe(self, experiment_id: str) -> None:
        """Record all that is known of a run before it starts; again, if a kill came half-way."""
        run, client, run_id = self._run, self._client, self.run_id
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

    def _send_metrics(self) -> None:
        run = self._run
        points = [Metric(key, value, run.started, 0) for key, value in run.metrics.items()]
        for file, prefix, step_column in (
            (LOSSES, "train/", "iteration"),
            (VALIDATION, "val/", "epoch"),
        ):
            path = run.folder / file
            rows = read_rows(path, self._rows_read[file])
            self._rows_read[file] += len(rows)
            for row in rows:
                # The file says no time; it was last written when its last row was.
                at = int(path.stat().st_mtime * 1000)
                step = int(row.pop(step_column))
                for name, value in row.items():
                    key = name if name == "epoch" else prefix + name
                    points.append(Metric(key, float(value), at, step))
        # In order, so that the last step of each metric in the store says what is there.
        new = [point for point in points if point.step > self._steps.get(point.key, -1)]
        for batch in _batches(new, METRICS_PER_BATCH):
            self._client.log_batch(self.run_id, metrics=batch, synchronous=True)

    def _send_images(self) -> None:
        """Send pictures, but not those that a resumed training has drawn a second time."""
        for path in sorted((self._run.folder / IMAGES).glob("*.png")):
            if path.stem not in self._images:
                key, _, step = path.stem.replace("~", "/").partition("+step+")
                with Image.open(path) as image:
                    self._client.log_image(
                        self.run_id, image, key=key, step=int(step), synchronous=True
                    )
            path.unlink()

    def _send_model(self) -> None:
        """Send the weights, if they still lie where they were saved, and their digest."""
        model = self._run.model
        if model is None or model["sha256"] == self._sha256:
            return
        folder, sha256 = paths.project_root() / model["folder"], model["sha256"]
        if sha256 in map(io.sha256, folder.glob("*.safetensors")):
            self._client.log_artifacts(self.run_id, str(folder), "model")
        else:
            say(f"the weights of {self._run} are not in {folder} any more: MLflow gets their "
                "digest alone")  # fmt: skip
        # Last: a run with this tag has its weights whole.
        self._client.set_tag(self.run_id, SHA256_TAG, sha256)


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
        sender: Sender | None = None
        monitor: Any = None
        warned = ended = False
        while not ended:
            ended = self._ended.is_set()
            try:
                if sender is None:
                    sender = Sender(self.recorded)
                    monitor = _start_monitor(sender.run_id)
                sender.send()
                self._problem = None
            except ColorganError as problem:
                self._problem, sender = problem, None
            if monitor and (ended or sender is None):
                monitor.finish()
                monitor = None
            if self._problem and not (warned or ended):
                warned = True
                say(f"{self._problem}: training goes on, and what could not be sent is sent later")
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


def _start_monitor(run_id: str) -> Any:
    """Let MLflow record the CPU and GPU usage of a run; None without psutil."""
    if not find_spec("psutil"):
        return None
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=tracking_uri())
    monitor.start()
    return monitor


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


def _batches(entries: list[T], size: int) -> Iterator[list[T]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
