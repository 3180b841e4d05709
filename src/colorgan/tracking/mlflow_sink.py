"""Runs in MLflow; the only file that imports it.

The store is `MLFLOW_TRACKING_URI`, else a SQLite file at the real project root. Metrics and
pictures are sent by one thread of their own, in order, so that training does not wait for them;
what cannot be sent is sent again later, because a server that stumbles must not end a training.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from PIL import Image

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking import lineage
from colorgan.tracking.recorder import RunDescription, Status

# MLflow reads the first four when it is imported: no telemetry, no news on the terminal. Its own
# limits, 7 retries of 120 s each, would keep a person waiting for a server that is not there.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

EXPERIMENT = "colorgan"
# The UI then opens on runs and their curves; else on pages for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
SHA256_TAG = "colorgan.generator_sha256"

SEND_EVERY = 5.0
"""Seconds between two batches of metrics: one costs 10 to 25 ms, however many are in it."""
SAMPLE_EVERY = 5
"""Seconds between two samples of CPU, memory and GPU, 13 ms each."""

# Limits of MLflow's API.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
DIGEST_LENGTH = 36


def tracking_uri() -> str:
    """Return the URI of MLflow's store: `MLFLOW_TRACKING_URI`, else mlflow.db.

    A SQLite file with a relative path lies at the real project root, also where the working
    directory is DVC's passing copy of it.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    file = uri.removeprefix("sqlite:///")
    if file == uri or file == ":memory:" or Path(file).is_absolute():
        return uri
    # In a database URL these two have a meaning; all else stands for itself.
    root = paths.project_root().as_posix().replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{root}/{file}"


def open_run(run: RunDescription) -> MlflowSink:
    """Begin a training run: its tags, parameters, data set and origin; then system metrics.

    Raises:
        ColorganError: the store cannot be reached; names its URI.
    """
    data = run.dataset
    tags = {"data.digest": data.digest, **run.extra}
    with _begun(run.stage, run.space, tags) as (client, run_id):
        entries = [Param(name, str(value)) for name, value in run.params.items()]
        for start in range(0, len(entries), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=entries[start : start + PARAMS_PER_BATCH])
        client.log_text(run_id, json.dumps(dict(run.params), indent=2), "params.json")
        dataset = Dataset(
            name=paths.processed(run.space).as_posix(),
            digest=data.digest[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": paths.processed(run.space).as_posix()}),
            profile=json.dumps({**data.counts, "rejected": data.rejected}),
        )
        context = InputTag("mlflow.data.context", "training")
        client.log_inputs(run_id, [DatasetInput(dataset, [context])])
        return MlflowSink(client, run_id)


def record_results(
    stage: str,
    space: str,
    generator_sha256: str,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path],
) -> None:
    """Record results as a child of the training run of these weights; see `recorder`."""
    # Under another name than in the training run, which is looked for by it.
    tags = {"colorgan.measured_sha256": generator_sha256}
    with _begun(stage, space, tags, parent_sha256=generator_sha256) as (client, run_id):
        now = int(time.time() * 1000)
        entries = [Metric(name, value, now, 0) for name, value in metrics.items()]
        for start in range(0, len(entries), METRICS_PER_BATCH):
            client.log_batch(run_id, metrics=entries[start : start + METRICS_PER_BATCH])
        for path in artifacts:
            client.log_artifact(run_id, str(path))
        client.set_terminated(run_id, "FINISHED")


class MlflowSink:
    """A training run in MLflow.

    Losses are `train/<name>` by iteration, validation metrics `val/<name>` by epoch.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """Record into a run that was begun."""
        self._client = client
        self._run_id = run_id
        self._waiting: list[Metric] = []
        self._sent_at = time.monotonic()
        self._warned = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="colorgan-mlflow")
        self._sending: Future[None] | None = None
        self._monitor = _system_monitor(client, run_id)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the losses of an iteration, soon."""
        values = {f"train/{name}": value for name, value in losses.items()}
        self._add({**values, "epoch": epoch}, iteration)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics of an epoch, soon."""
        self._add({f"val/{name}": value for name, value in metrics.items()}, epoch)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Record a picture, soon."""
        self._thread.submit(
            self._try,
            lambda: self._client.log_image(
                self._run_id, picture, key=key, step=epoch, synchronous=True
            ),
        )

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the folder of the final weights, and the tag by which its results find the run."""

        def send() -> None:
            self._client.log_artifacts(self._run_id, str(folder), "model")
            self._client.set_tag(self._run_id, SHA256_TAG, sha256)

        # Waited for: the folder may be one that its writer renames or removes.
        self._thread.submit(self._try, send).result()

    def close(self, status: Status) -> None:
        """Send what is left and end the run with `status`."""
        self._thread.submit(self._try, self._send)
        self._thread.shutdown(wait=True)
        self._try(self._end_system_metrics)
        self._try(lambda: self._client.set_terminated(self._run_id, status))
        if self._waiting:
            _say(f"{len(self._waiting)} metrics of this run did not reach MLflow: "
                 f"the CSV files in {paths.REPORTS} have them all")  # fmt: skip

    def _add(self, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step) for name, value in metrics.items()]
        busy = self._sending is not None and not self._sending.done()
        if not busy and time.monotonic() - self._sent_at >= SEND_EVERY:
            self._sent_at = time.monotonic()
            self._sending = self._thread.submit(self._try, self._send)

    def _send(self) -> None:
        """Send the metrics that wait, oldest first; those that fail stay for the next time."""
        # Those that wait now: to chase each newcomer would be to never stop.
        now_waiting = self._waiting[:]
        for start in range(0, len(now_waiting), METRICS_PER_BATCH):
            batch = now_waiting[start : start + METRICS_PER_BATCH]
            self._client.log_batch(self._run_id, metrics=batch)
            # Only this thread removes, and the other only appends, so these are the same ones.
            del self._waiting[: len(batch)]

    def _try(self, work: Callable[[], object]) -> None:
        """Do `work`; if it fails, say so once and let the training go on."""
        try:
            work()
        except Exception as error:
            # MLflow, its HTTP client, its database and a store of artifacts each have their own.
            if not self._warned:
                self._warned = True
                _say(f"MLflow at {_shown(self._client.tracking_uri)} failed ({_reason(error)}): "
                     "training goes on, the CSV files have every number")  # fmt: skip

    def _end_system_metrics(self) -> None:
        if self._monitor is None:
            return
        # One sample more, so that a run shorter than the interval has one too.
        self._monitor.finish()
        self._monitor.collect_metrics()
        self._monitor.publish_metrics(self._monitor.aggregate_metrics())
        self._monitor.mlflow_logger.flush()


@contextmanager
def _begun(
    stage: str, space: str, tags: Mapping[str, str], parent_sha256: str | None = None
) -> Iterator[tuple[MlflowClient, str]]:
    """Create a run with all that is known of its origin, and yield its client and id.

    If the block fails, so has the run.
    """
    git = lineage.git_state(Path.cwd())
    tags = {**lineage.origin(stage, space, git), **tags}
    client, experiment_id = _connect(tracking_uri())
    run_id = None
    try:
        if parent_sha256 and (parent := _training_run(client, experiment_id, parent_sha256)):
            tags["mlflow.parentRunId"] = parent
        run = client.create_run(experiment_id, tags=tags, run_name=lineage.run_name(stage))
        run_id = run.info.run_id
        client.log_text(run_id, lineage.environment(), "environment.txt")
        if git.diff:
            client.log_text(run_id, git.diff, "git.diff")
        yield client, run_id
    except BaseException as error:
        if run_id is not None:
            with suppress(Exception):
                status = "FAILED" if isinstance(error, Exception) else "KILLED"
                client.set_terminated(run_id, status)
        if not isinstance(error, Exception):
            raise
        uri = _shown(client.tracking_uri)
        raise ColorganError(f"recording to MLflow at {uri} failed: {_reason(error)}") from error


def _connect(uri: str) -> tuple[MlflowClient, str]:
    """Open the store and return a client and the id of the experiment, created if need be."""
    remote = re.match(r"https?://|databricks", uri) is not None
    root = paths.project_root()
    # Several processes that create the tables of an empty SQLite store at once crash.
    lock = nullcontext() if remote else FileLock(root / ".mlflow.lock")
    # Left to itself MLflow takes the working directory, which may be DVC's passing copy; a server
    # knows its own place.
    place = None if remote else (root / "mlartifacts").as_uri()
    try:
        with lock:
            client = MlflowClient(uri)
            experiment = _experiment(client, place)
    except Exception as error:
        # A server, a database and its driver each fail in their own way; all mean the same here.
        raise ColorganError(
            f"MLflow cannot record to {_shown(uri)}: {_mending()} ({_reason(error)})"
        ) from error
    if experiment.lifecycle_stage != "active":
        raise ColorganError(
            f"the experiment {EXPERIMENT} in {_shown(uri)} is deleted: bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return client, experiment.experiment_id


def _experiment(client: MlflowClient, place: str | None) -> Experiment:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        # On a server, another process may be a moment faster.
        with suppress(MlflowException):
            client.create_experiment(EXPERIMENT, place, tags=EXPERIMENT_TAGS)
        experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise MlflowException(f"the experiment {EXPERIMENT} can be neither found nor created")
    return experiment


def _mending() -> str:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return "start that server or mend MLFLOW_TRACKING_URI; unset, it is the project's mlflow.db"
    return "move that file away to begin a new one"


def _training_run(client: MlflowClient, experiment_id: str, sha256: str) -> str | None:
    runs = client.search_runs(
        [experiment_id],
        filter_string=f"tags.`{SHA256_TAG}` = '{sha256}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0].info.run_id if runs else None


def _system_monitor(client: MlflowClient, run_id: str) -> Any | None:
    """Start sampling CPU, memory, disk, network and GPUs; None where that cannot be done."""
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            run_id, sampling_interval=SAMPLE_EVERY, tracking_uri=client.tracking_uri
        )
        monitor.start()
    except Exception as error:
        # psutil may be missing, a driver broken: neither is worth a training.
        _say(f"MLflow cannot sample this machine ({_reason(error)}): recording goes on without")
        return None
    return monitor


def _shown(uri: str) -> str:
    """Return a URI without the name and password it may carry."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return textwrap.shorten(_shown(text.strip().splitlines()[0]), 200, placeholder=" ...")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
