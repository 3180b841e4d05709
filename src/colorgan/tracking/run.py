"""What a run is, and its recorder: CSV files, and a mirror of them in MLflow if it is installed."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from filelock import Timeout
from PIL import Image

from colorgan import io, paths
from colorgan.data.arrays import DatasetInfo
from colorgan.errors import ColorganError
from colorgan.tracking import lineage
from colorgan.tracking.csv_log import LOSSES, VALIDATION, CsvSink
from colorgan.tracking.mirror import Mirror, MirrorSink, say
from colorgan.tracking.unsent import (
    FILES,
    Status,
    UnsentRun,
    folder_of,
    lock_of,
    release,
    take_waiting,
)


@dataclass(frozen=True)
class RunDescription:
    """What is known of a training run before it starts.

    Attributes:
        stage: the stage that runs, such as `train_lab`.
        space: the space it trains.
        params: resolved parameters by dotted path.
        dataset: what it trains on.
        extra: further tags, such as the device that `auto` stood for.
        folder: that of the training, with its checkpoint and its CSV files; exists.
        token: identifies the training for good, however often it is stopped and resumed.
        iteration: finished iterations of the checkpoint that it resumes from; 0 if it begins.
        epoch: epochs of that checkpoint that are finished and validated.
    """

    stage: str
    space: str
    params: Mapping[str, str | int | float | bool]
    dataset: DatasetInfo
    extra: Mapping[str, str] = field(default_factory=dict)
    folder: Path = field(kw_only=True)
    token: str = field(kw_only=True)
    iteration: int = field(default=0, kw_only=True)
    epoch: int = field(default=0, kw_only=True)


class Sink(Protocol):
    """Something that keeps what a training run reports."""

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Keep the losses of an iteration."""

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep the validation metrics of an epoch."""

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Keep a picture under `key`."""

    def log_model(self, folder: Path, sha256: str) -> None:
        """Keep the folder of the final weights and the SHA-256 of generator.safetensors."""

    def close(self, status: Status) -> None:
        """End the run; nothing is logged after this."""


class Recorder:
    """Hands what a training run reports to every sink; a context manager.

    Leaving the block ends the run: FINISHED, KILLED (by Ctrl-C or `SystemExit`) or FAILED. A
    recorder without sinks records nothing; all ranks but 0 have one.
    """

    def __init__(self, *sinks: Sink) -> None:
        """Forward to `sinks`, in this order."""
        self._sinks = sinks

    def __enter__(self) -> Self:
        """Return the recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every sink, the last first, also when one of them fails to."""
        status: Status = "FINISHED"
        if kind is not None:
            killed = issubclass(kind, (KeyboardInterrupt, SystemExit))
            status = "KILLED" if killed else "FAILED"
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close, status)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the losses of an iteration."""
        for sink in self._sinks:
            sink.log_losses(iteration, epoch, losses)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics of an epoch."""
        for sink in self._sinks:
            sink.log_validation(epoch, metrics)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Record a picture under `key`, such as `val/grid`."""
        for sink in self._sinks:
            sink.log_picture(picture, key, epoch)

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the folder of the final weights and the SHA-256 of generator.safetensors."""
        for sink in self._sinks:
            sink.log_model(folder, sha256)


def open_recorder(run: RunDescription) -> Recorder:
    """Begin to record a training run, to CSV and, where it is installed, to MLflow.

    A training that resumes goes on with the same files and the same MLflow run.
    """
    table = CsvSink(run.folder / LOSSES, run.folder / VALIDATION, run.iteration, run.epoch)
    mlflow_log = _mlflow_log()
    if mlflow_log is None:
        return Recorder(table)
    folder = folder_of(run.stage, run.token)
    lock = lock_of(folder)
    with suppress(Timeout):
        # If another process sends this run just now, the mirror waits for it.
        lock.acquire(blocking=False)
    unsent = UnsentRun.read(folder) or _described(run)
    unsent.status, unsent.ended = None, None
    unsent.starts += 1
    if run.iteration:
        unsent.resumed_from.append(run.iteration)
    unsent.write()
    for name in (LOSSES, VALIDATION):
        (folder / name).unlink(missing_ok=True)
        if (run.folder / name).exists():
            shutil.copy2(run.folder / name, folder / name)
    sender = mlflow_log.RunSender(unsent, live=True)
    # Sinks close in reverse order: first the files, then the store, which may be slow.
    return Recorder(MirrorSink(unsent, lock, sender, run.iteration, run.epoch), table)


def record_results(
    stage: str,
    space: str,
    generator_sha256: str,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path],
) -> None:
    """Record what was measured or drawn with a trained generator, as a run of its own.

    In MLflow it is a child of the training run that made these weights, the newest if there are
    several; it has no parent if there is none, as for weights that were pulled. If MLflow is away
    it is sent later, like a training.

    Args:
        stage: the stage that runs, such as `evaluate_lab`.
        space: the space of the generator.
        generator_sha256: SHA-256 of its generator.safetensors.
        metrics: numbers by name.
        artifacts: files, or folders with all that is in them.
    """
    mlflow_log = _mlflow_log()
    if mlflow_log is None:
        return
    token = uuid.uuid4().hex
    run = UnsentRun("results", stage, token, lineage.run_name(stage), metrics=dict(metrics))
    with lock_of(run.folder):
        git = _write_origin(run)
        run.tags = lineage.origin(stage, space, git)
        run.tags[mlflow_log.MEASURED_TAG] = generator_sha256
        for path in artifacts:
            if path.is_dir():
                shutil.copytree(path, run.folder / FILES / path.name)
            else:
                shutil.copy2(path, run.folder / FILES / path.name)
        run.end("FINISHED")
    # Earlier runs first: the training of these weights may be among them.
    for sent, problem in _send_waiting():
        if problem or sent.token != token:
            say(problem or _has(sent))


def send_unsent() -> None:
    """Send MLflow what it did not get of earlier runs; says what it did.

    A run whose process was killed becomes KILLED in MLflow. A store that is away costs a sentence.
    """
    for run, problem in _send_waiting():
        say(problem or _has(run))


def sync() -> str:
    """Send MLflow what it did not get of earlier runs; return what was done.

    Raises:
        ColorganError: MLflow is not installed, or still does not have all of a run.
    """
    if find_spec("mlflow") is None:
        raise ColorganError("MLflow is not installed: `pip install colorgan[pipeline]` brings it")
    outcomes = list(_send_waiting())
    if problems := [problem for _, problem in outcomes if problem]:
        raise ColorganError("\n".join(problems))
    return "\n".join(_has(run) for run, _ in outcomes) or "MLflow has all runs already"


def _send_waiting() -> Iterator[tuple[UnsentRun, str]]:
    """Send the runs that wait; yield each with what went wrong, empty if nothing did."""
    for run, lock in take_waiting():
        mlflow_log = _mlflow_log()
        if mlflow_log is None:
            release(lock, run.folder)
            return
        if run.status is None:
            run.end("KILLED", at=run.last_written())
        mirror = Mirror(run, lock, mlflow_log.RunSender(run), ended=True)
        sent = mirror.close()
        yield run, "" if sent else mirror.not_sent()
        away = mirror.error is None or isinstance(mirror.error, mlflow_log.StoreAwayError)
        if not sent and away:
            # The other runs would wait for it too.
            return


def _has(run: UnsentRun) -> str:
    return f"MLflow has got what it had missed of run {run.name!r}"


def _described(run: RunDescription) -> UnsentRun:
    """Return all that is known of a training before it starts, and write its first artifacts."""
    data = run.dataset
    unsent = UnsentRun("training", run.stage, run.token, lineage.run_name(run.stage))
    git = _write_origin(unsent)
    io.write_json(unsent.folder / FILES / "params.json", dict(run.params))
    unsent.params = dict(run.params)
    unsent.tags = lineage.origin(run.stage, run.space, git)
    unsent.tags |= {"data.digest": data.digest, **run.extra}
    unsent.dataset = {
        "name": paths.processed(run.space).as_posix(),
        "digest": data.digest,
        "profile": {**data.counts, "rejected": data.rejected},
    }
    return unsent


def _write_origin(run: UnsentRun) -> lineage.GitState:
    """Write the packages and the git diff beside a run; return the state of git."""
    git = lineage.git_state(Path.cwd())
    files = run.folder / FILES
    files.mkdir(parents=True, exist_ok=True)
    (files / "environment.txt").write_text(lineage.environment(), encoding="utf-8")
    if git.diff:
        (files / "git.diff").write_text(git.diff, encoding="utf-8", newline="")
    return git


def _mlflow_log() -> Any:
    """Return the module that writes to MLflow; None, said in a sentence, without MLflow."""
    try:
        from colorgan.tracking import mlflow_log
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        say("mlflow is not installed: recording to CSV and JSON alone")
        return None
    return mlflow_log
