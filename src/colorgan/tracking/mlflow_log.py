"""Runs in MLflow: where they are kept, begun, gone on with and found again.

The store is `MLFLOW_TRACKING_URI`, else a SQLite file at the real project root.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.tracking import lineage
from colorgan.tracking.outbox import Point, picture_id
from colorgan.tracking.remote_sink import SYSTEM, RemoteSink, reason, say, shown
from colorgan.tracking.run import RunDescription, Status
from colorgan.tracking.sending import Sampler
from colorgan.tracking.store_uri import is_remote, mending, sqlite_file
from colorgan.tracking.store_uri import tracking_uri as tracking_uri

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
from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException  # noqa: E402

EXPERIMENT = "colorgan"
# The UI then opens on runs and their curves; else on pages for language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
SHA256_TAG = "colorgan.generator_sha256"
# What a training is found again by, how often it went on, and from which iterations.
TRAINING_TAG = "colorgan.training"
RESUMED_TAG = "resumed"
RESUMED_FROM_TAG = "resumed.from"

SAMPLE_EVERY = 5
"""Seconds between two samples of CPU, memory and GPU, 13 ms each."""

# Limits of MLflow's API.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
DIGEST_LENGTH = 36


def open_run(run: RunDescription) -> MlflowSink:
    """Begin a training run, or go on with that of an earlier start of the same training.

    Raises:
        ColorganError: the store cannot be reached; names its URI.
    """
    client, experiment_id = _connect(tracking_uri())
    with _failing(client) as begun:
        found = _newest_run(client, experiment_id, TRAINING_TAG, run.token)
        if found is None:
            # Its tag from the first moment on: a kill leaves no run that is not found again.
            tags = {TRAINING_TAG: run.token}
            found = client.create_run(
                experiment_id, tags=tags, run_name=lineage.run_name(run.stage)
            )
        begun.append(found.info.run_id)
        if found.info.status != "RUNNING":
            client.update_run(found.info.run_id, status="RUNNING")
        if RESUMED_TAG in found.data.tags:
            _go_on(client, found, run.iteration)
        else:
            _describe(client, found, run)
        return MlflowSink(client, found, run)


def _describe(client: MlflowClient, found: Run, run: RunDescription) -> None:
    """Record all that is known of a run before it starts; also after a kill half-way."""
    run_id, data = found.info.run_id, run.dataset
    there = found.data.params
    params = [Param(name, str(v)) for name, v in run.params.items() if name not in there]
    for start in range(0, len(params), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])
    client.log_text(run_id, json.dumps(dict(run.params), indent=2), "params.json")
    folder = paths.processed(run.space).as_posix()
    dataset = Dataset(
        name=folder,
        digest=data.digest[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": folder}),
        profile=json.dumps({**data.counts, "rejected": data.rejected}),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])
    git = lineage.git_state(Path.cwd())
    _log_origin(client, run_id, git)
    # Last: a run with this tag is described whole.
    tags = {"data.digest": data.digest, **run.extra, RESUMED_TAG: "0"}
    _set_tags(client, run_id, {**lineage.origin(run.stage, run.space, git), **tags})


def _go_on(client: MlflowClient, found: Run, iteration: int) -> None:
    """Note that a run goes on, and from where."""
    tags = found.data.tags
    before = tags.get(RESUMED_FROM_TAG, "")
    # A tag is 8000 characters at most; the last ones matter more.
    positions = [*(before.split(", ") if before else []), str(iteration)][-500:]
    noted = {RESUMED_FROM_TAG: ", ".join(positions), RESUMED_TAG: str(int(tags[RESUMED_TAG]) + 1)}
    _set_tags(client, found.info.run_id, noted)


def mark_killed(token: str) -> None:
    """Set a run of this training that still counts as running to KILLED; see `recorder`."""
    uri = tracking_uri()
    if (file := sqlite_file(uri)) and not file.exists():
        return
    with suppress(Exception):
        client, experiment_id = _connect(uri)
        run = _newest_run(client, experiment_id, TRAINING_TAG, token)
        if run is not None and run.info.status == "RUNNING":
            # It ended when it was last heard of, not today.
            heard = max((metric.timestamp for metric in _latest(run)), default=None)
            client.set_terminated(run.info.run_id, "KILLED", heard)


def record_results(
    stage: str,
    space: str,
    generator_sha256: str,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path],
) -> None:
    """Record results as a child of the training run of these weights; see `recorder`."""
    client, experiment_id = _connect(tracking_uri())
    git = lineage.git_state(Path.cwd())
    # Under another name than in the training run, which is looked for by it.
    tags = {**lineage.origin(stage, space, git), "colorgan.measured_sha256": generator_sha256}
    with _failing(client) as begun:
        if parent := _newest_run(client, experiment_id, SHA256_TAG, generator_sha256):
            tags["mlflow.parentRunId"] = parent.info.run_id
        run = client.create_run(experiment_id, tags=tags, run_name=lineage.run_name(stage))
        run_id = run.info.run_id
        begun.append(run_id)
        _log_origin(client, run_id, git)
        now = int(time.time() * 1000)
        entries = [Metric(name, value, now, 0) for name, value in metrics.items()]
        for start in range(0, len(entries), METRICS_PER_BATCH):
            client.log_batch(run_id, metrics=entries[start : start + METRICS_PER_BATCH])
        for path in artifacts:
            client.log_artifact(run_id, str(path))
        client.set_terminated(run_id, "FINISHED")


class MlflowSink(RemoteSink):
    """A training run in MLflow, with samples of the machine it runs on."""

    def __init__(self, client: MlflowClient, found: Run, run: RunDescription) -> None:
        """Go on with the run that was found; what waits for it lies in the folder of `run`."""
        run_id = found.info.run_id
        steps = {point.key: point.step for point in _latest(found)}
        images = [Path(file.path).name for file in client.list_artifacts(run_id, "images")]
        pictures = {picture for name in images if (picture := picture_id(name))}
        sha256 = found.data.tags.get(SHA256_TAG)
        again = f"python -m colorgan train {run.space}"
        super().__init__(_MlflowRun(client, run_id), run.folder, steps, pictures, sha256, again)
        number = 1 + max((n for key, n in steps.items() if key.startswith(SYSTEM)), default=-1)
        self._sampler = _sampler(client, run_id, self.log_machine, number)

    def close(self, status: Status) -> None:
        """Send what is left and end the run; does not wait for a store that is gone."""
        if self._sampler:
            self._sampler.close()
        super().close(status)


@dataclass(frozen=True)
class _MlflowRun:
    """A run, as `RemoteSink` wants it."""

    client: MlflowClient
    run_id: str

    @property
    def place(self) -> str:
        return f"MLflow at {shown(self.client.tracking_uri)}"

    def send_points(self, points: Sequence[Point]) -> None:
        metrics = [Metric(p.key, p.value, p.time, p.step) for p in points]
        self.client.log_batch(self.run_id, metrics=metrics)

    def send_picture(self, whole: Path, small: Path) -> None:
        # Not `log_image`, which takes new names each time and so would leave a half one behind.
        for file in (whole, small):
            self.client.log_artifact(self.run_id, str(file), "images")
        self.client.set_tag(self.run_id, "mlflow.loggedImages", "True")

    def send_model(self, folder: Path, sha256: str) -> None:
        self.client.log_artifacts(self.run_id, str(folder), "model")
        # Last: with this tag the model is there whole.
        self.client.set_tag(self.run_id, SHA256_TAG, sha256)

    def end(self, status: Status) -> None:
        self.client.set_terminated(self.run_id, status)


@contextmanager
def _failing(client: MlflowClient) -> Iterator[list[str]]:
    """Yield a list for the ids of the runs that fail with the block, if it fails."""
    begun: list[str] = []
    try:
        yield begun
    except BaseException as error:
        for run_id in begun:
            with suppress(Exception):
                status = "FAILED" if isinstance(error, Exception) else "KILLED"
                client.set_terminated(run_id, status)
        if not isinstance(error, Exception):
            raise
        uri = shown(client.tracking_uri)
        raise ColorganError(f"recording to MLflow at {uri} failed: {reason(error)}") from error


def _log_origin(client: MlflowClient, run_id: str, git: lineage.GitState) -> None:
    client.log_text(run_id, lineage.environment(), "environment.txt")
    if git.diff:
        client.log_text(run_id, git.diff, "git.diff")


def _set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _connect(uri: str) -> tuple[MlflowClient, str]:
    """Open the store and return a client and the id of the experiment, created if need be."""
    remote = is_remote(uri)
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
            f"MLflow cannot record to {shown(uri)}: {mending()} ({reason(error)})"
        ) from error
    if experiment.lifecycle_stage != "active":
        raise ColorganError(
            f"the experiment {EXPERIMENT} in {shown(uri)} is deleted: bring it back with "
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


def _newest_run(client: MlflowClient, experiment_id: str, tag: str, value: str) -> Run | None:
    """Return the newest run with this tag, if any; deleted ones do not count."""
    runs = client.search_runs(
        [experiment_id],
        filter_string=f"tags.`{tag}` = '{value}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _latest(run: Run) -> Iterable[Any]:
    """Return the last point of each metric: `key`, `step`, `timestamp`; it came with the run."""
    points: Iterable[Any] = run.data.to_proto().metrics
    return points


def _sampler(
    client: MlflowClient, run_id: str, keep: Callable[[Mapping[str, float], int], None], first: int
) -> Sampler | None:
    """Start sampling CPU, memory, disk, network and GPUs; None where that cannot be done."""
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        # Not started: its own thread would end for good as soon as the store stumbles.
        monitor = SystemMetricsMonitor(
            run_id, sampling_interval=SAMPLE_EVERY, tracking_uri=client.tracking_uri
        )
    except Exception as error:
        # psutil may be missing, a driver broken: neither is worth a training.
        say(f"MLflow cannot sample this machine ({reason(error)}): recording goes on without")
        return None

    def sample() -> dict[str, float]:
        monitor.collect_metrics()
        values: dict[str, float] = monitor.aggregate_metrics()
        for part in monitor.monitors:
            part.clear_metrics()
        return values

    return Sampler(sample, keep, monitor.sampling_interval, first)
