"""Writing runs to MLflow: what lies in `.resume/unsent` is sent, each point once."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from PIL import Image

from colorgan import io, paths
from colorgan.errors import ColorganError
from colorgan.tracking.csv_log import LOSSES, VALIDATION, read_rows
from colorgan.tracking.store_uri import is_remote, reason, tracking_uri, without_password
from colorgan.tracking.unsent import FILES, IMAGES, UnsentRun, now

EXPERIMENT = "colorgan"
# The UI then opens on runs and their curves, not on pages for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
SHA256_TAG = "colorgan.generator_sha256"
# Of results: under another name than that of the training run, which is looked up by it.
MEASURED_TAG = "colorgan.measured_sha256"
RESUMED_FROM_TAG = "resumed.from"

SAMPLE_EVERY = 5
"""Seconds between two samples of CPU, memory and GPU, 13 ms each."""

# Limits of MLflow's API.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
DIGEST_LENGTH = 36

# MLflow's names of stepped images: the picture and its thumbnail, which is written after it.
IMAGE = re.compile(r"(?P<key>.+)\+step\+(?P<step>\d+)\+.*(?P<kind>\.png|\+compressed\.webp)")
THUMBNAIL = 256


class StoreAwayError(ColorganError):
    """The store cannot be reached."""


class RunSender:
    """Sends a run to MLflow: all of it, or what is new since the last time.

    Attributes:
        moved_at: when something arrived last, by `time.monotonic`.
        uploading: whether the weights are being sent, which may take long.
    """

    def __init__(self, run: UnsentRun, *, live: bool = False) -> None:
        """Send `run`; if it is `live`, with samples of the machine that it runs on."""
        self.moved_at = time.monotonic()
        self.uploading = False
        self._run = run
        self._live = live
        self._monitor: Any = None
        self._sampled_at = time.monotonic()
        # A point keeps its time if it is sent again: stores drop a point that is there already.
        self._times: dict[tuple[str, int], int] = {}
        self._id = ""

    def send(self, *, last: bool) -> None:
        """Send what MLflow does not have; with `last` also how the run ended.

        May be called again if it failed.

        Raises:
            ColorganError: the store is away or refuses something.
        """
        try:
            if not self._id:
                self._connect()
            self._send_metrics(self._new_metrics() + self._machine(last))
            self._send_images()
            self._send_model()
            if last:
                self._client.set_terminated(self._id, self._run.status, self._run.ended)
        except Exception as error:
            # What has arrived is asked of the store the next time.
            self._id = ""
            if isinstance(error, ColorganError):
                raise
            # MLflow, its HTTP client, its database and a store of artifacts each have their own.
            raise ColorganError(f"{place()} failed ({reason(error)})") from error

    def _connect(self) -> None:
        """Find the run in MLflow or begin it, and ask what it has."""
        client, experiment_id = connect()
        run, token_tag = self._run, f"colorgan.{self._run.kind}"
        found = _newest(client, experiment_id, token_tag, run.token)
        if found is None:
            # Tagged from the first moment on, so that a kill leaves no run that is not found.
            tags = {token_tag: run.token}
            found = client.create_run(experiment_id, run.started, tags, run.name)
        self._client = client
        run_id = found.info.run_id
        if "stage" not in found.data.tags:
            self._describe(found, experiment_id)
        if run.resumed_from:
            self._note_resumes(found)
        if found.info.status != "RUNNING" and run.status is None:
            client.update_run(run_id, status="RUNNING")
        # The last point of each metric comes with the run.
        points = list(found.data.to_proto().metrics)
        self._steps: dict[str, int] = {point.key: point.step for point in points}
        self._images = {
            (match["key"], int(match["step"]), match["kind"]): file.path
            for file in client.list_artifacts(run_id, "images")
            if (match := IMAGE.fullmatch(Path(file.path).name))
        }
        self._sha256 = found.data.tags.get(SHA256_TAG)
        self._read_to: dict[str, int] = {}
        self._id = run_id
        self._moved()

    def _describe(self, found: Run, experiment_id: str) -> None:
        """Record all that is known of a run before it starts; again, if a kill came half-way."""
        client, run, run_id = self._client, self._run, found.info.run_id
        new = [Param(name, str(v)) for name, v in run.params.items()
               if name not in found.data.params]  # fmt: skip
        for start in range(0, len(new), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=new[start : start + PARAMS_PER_BATCH], synchronous=True)
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
        if (run.folder / FILES).is_dir():
            client.log_artifacts(run_id, str(run.folder / FILES))
        tags = dict(run.tags)
        if sha256 := tags.get(MEASURED_TAG):
            parent = _newest(client, experiment_id, SHA256_TAG, sha256)
            if parent:
                tags["mlflow.parentRunId"] = parent.info.run_id
        # Last: a run with these tags is described whole.
        _set_tags(client, run_id, tags)

    def _note_resumes(self, found: Run) -> None:
        before = found.data.tags.get(RESUMED_FROM_TAG, "")
        noted = dict.fromkeys(
            [*filter(None, before.split(", ")), *map(str, self._run.resumed_from)]
        )
        # A tag has at most 8000 characters; the last resumes matter more.
        _set_tags(self._client, found.info.run_id, {RESUMED_FROM_TAG: ", ".join([*noted][-500:])})

    def _new_metrics(self) -> list[Metric]:
        """Return the rows of both files that MLflow does not have, as points."""
        points = []
        for file, prefix, step_column in (
            (LOSSES, "train/", "iteration"),
            (VALIDATION, "val/", "epoch"),
        ):
            path = self._run.folder / file
            rows, self._read_to[file] = read_rows(path, self._read_to.get(file, 0))
            for row in rows:
                step = int(row.pop(step_column))
                # The file says no time; it was last written when its last row was.
                written = int(path.stat().st_mtime * 1000)
                at = self._times.setdefault((file, step), written)
                for name, value in row.items():
                    key = name if name == "epoch" else f"{prefix}{name}"
                    if step > self._steps.get(key, -1):
                        points.append(Metric(key, float(value), at, step))
        for name in self._run.metrics.keys() - self._steps.keys():
            self._steps[name] = 0
            points.append(Metric(name, self._run.metrics[name], self._run.started, 0))
        return points

    def _send_metrics(self, points: list[Metric]) -> None:
        # In order, so that the last step in the store says what is there, of each metric.
        for start in range(0, len(points), METRICS_PER_BATCH):
            batch = points[start : start + METRICS_PER_BATCH]
            self._client.log_batch(self._id, metrics=batch, synchronous=True)
            self._moved()

    def _machine(self, last: bool) -> list[Metric]:
        """Return a sample of CPU, memory, disk, network and GPUs, if one is due."""
        if not self._live or (time.monotonic() - self._sampled_at < SAMPLE_EVERY and not last):
            return []
        self._sampled_at = time.monotonic()
        try:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            # Not started: its own thread would end for good when the store fails once.
            if self._monitor is None:
                uri = self._client.tracking_uri
                self._monitor = SystemMetricsMonitor(self._id, SAMPLE_EVERY, tracking_uri=uri)
            self._monitor.collect_metrics()
            sample = self._monitor.aggregate_metrics()
            for part in self._monitor.monitors:
                part.clear_metrics()
        except Exception as error:
            # psutil may be missing, a driver broken.
            self._live = False
            _say(f"MLflow cannot sample this machine ({reason(error)}): recording goes on without")
            return []
        steps = [step for key, step in self._steps.items() if key.startswith("system/")]
        step = 1 + max(steps, default=-1)
        self._steps |= {f"system/{name}": step for name in sample}
        return [Metric(f"system/{name}", value, now(), step) for name, value in sample.items()]

    def _send_images(self) -> None:
        for path in sorted((self._run.folder / IMAGES).glob("*.png")):
            key, _, step = path.stem.rpartition("+step+")
            picture = self._images.get((key, int(step), ".png"))
            with Image.open(path) as image:
                if picture is None:
                    at = int(path.stat().st_mtime * 1000)
                    self._client.log_image(
                        self._id, image, key=key.replace("~", "/"), step=int(step), timestamp=at,
                        synchronous=True,
                    )  # fmt: skip
                elif (key, int(step), "+compressed.webp") not in self._images:
                    # A kill came between the picture and its thumbnail.
                    image.thumbnail((THUMBNAIL, THUMBNAIL))
                    name = f"{picture.removesuffix('.png')}+compressed.webp"
                    self._client.log_image(self._id, image, name)
            path.unlink()
            self._moved()

    def _send_model(self) -> None:
        """Send the weights, if they still lie where they were saved, and their digest."""
        model = self._run.model
        if model is None or model["sha256"] == self._sha256:
            return
        folder, sha256 = Path(model["folder"]), model["sha256"]
        if sha256 in map(io.sha256, folder.glob("*.safetensors")):
            self.uploading = True
            try:
                self._client.log_artifacts(self._id, str(folder), "model")
            finally:
                self.uploading = False
        else:
            _say(f"the weights of run {self._run.name!r} are not in {folder} any more: MLflow gets "
                 "their digest alone")  # fmt: skip
        # Last: a run with this tag has its weights whole.
        _set_tags(self._client, self._id, {SHA256_TAG: sha256})
        self._sha256 = sha256
        self._moved()

    def _moved(self) -> None:
        self.moved_at = time.monotonic()


def place() -> str:
    """Return the name of the store, for a sentence."""
    return f"MLflow at {without_password(tracking_uri())}"


def connect() -> tuple[MlflowClient, str]:
    """Return a client of the store and the id of the experiment, which is created if need be.

    Raises:
        StoreAwayError: it cannot be reached, is locked or is no store.
        ColorganError: the experiment is deleted.
    """
    uri, root = tracking_uri(), paths.project_root()
    remote = is_remote(uri)
    # Several processes that create the tables of an empty SQLite store at once crash.
    lock = nullcontext() if remote else FileLock(root / ".mlflow.lock")
    try:
        with lock:
            client = MlflowClient(uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                # By default artifacts lie below the working directory, which may be a temporary
                # copy that DVC has made; a server chooses their place itself.
                artifacts = None if remote else (root / "mlartifacts").as_uri()
                # On a server, another process may be a moment faster.
                with suppress(MlflowException):
                    client.create_experiment(EXPERIMENT, artifacts, tags=EXPERIMENT_TAGS)
                experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise MlflowException(f"the experiment {EXPERIMENT} cannot be created")
    except Exception as error:
        # A server, a database and its driver each fail in their own way.
        raise StoreAwayError(f"{place()} cannot be reached ({reason(error)})") from error
    if experiment.lifecycle_stage != "active":
        raise ColorganError(
            f"the experiment {EXPERIMENT} of {place()} is deleted: bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return client, experiment.experiment_id


def _newest(client: MlflowClient, experiment_id: str, tag: str, value: str) -> Run | None:
    """Return the newest run with this tag, if any; deleted ones do not count."""
    condition, order = f"tags.`{tag}` = '{value}'", ["attributes.start_time DESC"]
    runs = client.search_runs([experiment_id], condition, max_results=1, order_by=order)
    return runs[0] if runs else None


def _set_tags(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    entries = [RunTag(name, value) for name, value in tags.items()]
    client.log_batch(run_id, tags=entries, synchronous=True)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
