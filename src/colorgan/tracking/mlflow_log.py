"""Sends runs to MLflow from their folders in `.resume/unsent`, each point once.

A training writes plain files and never waits for the store. Sending asks MLflow what it has and
sends the rest, so it can be stopped and repeated at any place.
"""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from PIL import Image

from colorgan import io, paths
from colorgan.errors import ColorganError, say
from colorgan.tracking.csv_log import LOSSES, VALIDATION, read_rows
from colorgan.tracking.lineage import PARENT_TAG
from colorgan.tracking.mlflow_read import SHA256_TAG, open_store, place
from colorgan.tracking.store import (
    ARTIFACTS,
    experiment_name,
    is_remote,
    reason,
    sqlite_file,
    tracking_uri,
)
from colorgan.tracking.unsent import FILES, IMAGES, MEASURED_TAG, RESUMED_TAG, RunDescription

# The UI then opens on runs and their curves, not on pages for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
TOKEN_TAG = "colorgan.token"

SEND_EVERY = 5.0
"""Seconds between two rounds of sending."""
PATIENCE = 10.0
"""Seconds that the end of a run waits for a store that does not answer."""

# Limits of MLflow's API.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
DIGEST_LENGTH = 36

THUMBNAIL = 256
"""Longest side of the small copies that the UI shows, in pixels."""


class Sender:
    """A daemon thread that sends a run to MLflow, and removes its folder when MLflow has it all.

    If another process holds the lock of the run, the thread waits for it. `live` is a run that is
    still recorded: sent every few seconds, with CPU and GPU usage. `error` is why the last round
    failed; `reached` is whether the store has ever answered.
    """

    def __init__(self, run: RunDescription, lock: FileLock, *, live: bool = False) -> None:
        self.run, self._lock, self._live = run, lock, live
        self.error: Exception | None = None
        self.reached = False
        self._run_id = ""
        self._monitor: Any = None
        self._sent = False
        self._ended = threading.Event()
        if not live:
            self._ended.set()
        self._thread = threading.Thread(target=self._work, name="colorgan-sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self) -> str:
        """Wait for the end, but not forever; return a sentence about what is not sent, if any."""
        self._ended.set()
        self._thread.join(PATIENCE)
        # A file answers or fails; to make the tables of a new one takes a slow machine longer.
        if self._run_id or sqlite_file(tracking_uri()):
            # What a training does not wait for, `colorgan sync` does.
            self._thread.join(5 * PATIENCE if self._live else None)
        if self._sent:
            return ""
        return (
            f"{self.error or 'MLflow does not answer'}: what it does not have of {self.run} is "
            f"kept in {self.run.folder}, and the next training or `python -m colorgan sync` sends "
            "it"
        )

    def _work(self) -> None:
        self._lock.acquire()
        warned = False
        while not self._ended.is_set():
            self._try_to_send()
            if self.error and not warned and not self._ended.is_set():
                warned = True
                say(f"{self.error}: training goes on, and what could not be sent is sent later")
            self._ended.wait(SEND_EVERY)
        self._try_to_send()
        self._sent = self.error is None
        # Unless another process has resumed the run since.
        if self._sent and (run := RunDescription.read(self.run.folder)) and run.status:
            shutil.rmtree(run.folder, ignore_errors=True)
        self._lock.release(force=True)

    def _try_to_send(self) -> None:
        try:
            self.send()
            self.error = None
        except Exception as error:
            # MLflow, its HTTP client, its database and its artifact store have errors of their own.
            ours = isinstance(error, ColorganError)
            self.error = error if ours else ColorganError(f"{place()} failed: {reason(error)}")
            self._run_id = ""
            self._stop_monitor()

    def send(self) -> None:
        """Send what MLflow does not have; if the run has ended, also how."""
        # Before the rest, which is then complete.
        status = self.run.status
        if not self._run_id:
            self._connect()
        self._send_metrics()
        self._send_images()
        self._send_model()
        if status:
            self._stop_monitor()
            if status != self._status:
                self._client.set_terminated(self._run_id, status, self.run.ended)

    def _connect(self) -> None:
        """Find the run in MLflow or create it, and ask what it has."""
        run = self.run
        client, experiment_id = connect()
        self.reached = True
        found = _newest(client, experiment_id, TOKEN_TAG, run.token)
        if found is None:
            # Tagged from the first moment on, so that a kill leaves no run that is not found.
            tags = {TOKEN_TAG: run.token}
            found = client.create_run(experiment_id, run.started, tags, run.name)
        self._client, self._run_id = client, found.info.run_id
        if "stage" not in found.data.tags:
            self._describe(experiment_id)
        elif resumed_from := run.tags.get(RESUMED_TAG):
            client.set_tag(self._run_id, RESUMED_TAG, resumed_from)
        self._status = found.info.status
        if run.status is None and self._status != "RUNNING":
            self._status = "RUNNING"
            client.update_run(self._run_id, status=self._status)
        # The last point of each metric comes with the run. A batch arrives whole or not at all.
        self._steps = {point.key: point.step for point in found.data.to_proto().metrics}
        self._rows_read = {LOSSES: 0, VALIDATION: 0}
        self._sha256 = found.data.tags.get(SHA256_TAG)
        self._started = found.info.start_time
        if self._live and find_spec("psutil"):
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(
                self._run_id, resume_logging=True, tracking_uri=client.tracking_uri
            )
            self._monitor.start()

    def _describe(self, experiment_id: str) -> None:
        """Record all that is known of a run before it starts; again, if a kill came half-way."""
        run, client, run_id = self.run, self._client, self._run_id
        params = [Param(name, str(value)) for name, value in run.params.items()]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            batch = params[start : start + PARAMS_PER_BATCH]
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
        run = self.run
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
        points = [p for p in points if p.step > self._steps.get(p.key, -1)]
        # In order, so that the last step of each metric in the store says what is there.
        for start in range(0, len(points), METRICS_PER_BATCH):
            batch = points[start : start + METRICS_PER_BATCH]
            self._client.log_batch(self._run_id, metrics=batch, synchronous=True)

    def _send_images(self) -> None:
        """Send pictures under MLflow's names of stepped images; sent again they are replaced."""
        for path in sorted((self.run.folder / IMAGES).glob("*.png")):
            unique = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.run.token}/{path.stem}")
            name = f"images/{path.stem}+timestamp+{self._started}+{unique}"
            with Image.open(path) as image:
                self._client.log_image(self._run_id, image, f"{name}.png")
                image.thumbnail((THUMBNAIL, THUMBNAIL))
                self._client.log_image(self._run_id, image, f"{name}+compressed.webp")
            path.unlink()

    def _send_model(self) -> None:
        """Send the weights, if they still lie where they were saved, and their digest."""
        model = self.run.model
        if model is None or model["sha256"] == self._sha256:
            return
        folder, sha256 = paths.project_root() / model["folder"], model["sha256"]
        if sha256 in map(io.sha256, folder.glob("*.safetensors")):
            self._client.log_artifacts(self._run_id, str(folder), "model")
        else:
            say(f"the weights of {self.run} are not in {folder} any more: MLflow gets their digest "
                "alone")  # fmt: skip
        # Last: a run with this tag has its weights whole.
        self._client.set_tag(self._run_id, SHA256_TAG, sha256)
        self._sha256 = sha256

    def _stop_monitor(self) -> None:
        if self._monitor:
            self._monitor.finish()
            self._monitor = None


def connect() -> tuple[MlflowClient, str]:
    """Return a client of the store and the id of the experiment, which is created if need be."""
    uri, root = tracking_uri(), paths.project_root()
    # Several processes that create the tables of an empty SQLite store at once crash.
    with nullcontext() if is_remote(uri) else FileLock(root / ".mlflow.lock"):
        client, experiment = open_store(uri)
        if experiment:
            return client, experiment.experiment_id
        # By default artifacts lie below the working directory, which may be a temporary copy that
        # DVC has made; a server chooses their place itself.
        artifacts = None if is_remote(uri) else (root / ARTIFACTS).as_uri()
        return client, client.create_experiment(experiment_name(), artifacts, EXPERIMENT_TAGS)


def _newest(client: MlflowClient, experiment_id: str, tag: str, value: str) -> Run | None:
    """Return the newest run with this tag, if any; deleted ones do not count."""
    condition, order = f"tags.`{tag}` = '{value}'", ["attributes.start_time DESC"]
    runs = client.search_runs([experiment_id], condition, max_results=1, order_by=order)
    return runs[0] if runs else None
