"""Records runs: to CSV files, and to MLflow if it is installed."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from PIL import Image

from colorgan import io, paths
from colorgan.data.arrays import DatasetInfo
from colorgan.errors import ColorganError
from colorgan.tracking import lineage
from colorgan.tracking.csv_log import LOSSES, VALIDATION, CsvTable
from colorgan.tracking.store import NOT_INSTALLED
from colorgan.tracking.unsent import (
    FILES,
    IMAGES,
    RESUMED_TAG,
    Status,
    UnsentRun,
    lock_of,
    say,
    take_waiting,
)

if TYPE_CHECKING:
    from colorgan.tracking.mlflow_log import Sender


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
        token: identifies the training, however often it is stopped and resumed.
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


class Recorder:
    """Records what a training run reports; a context manager.

    Leaving the block ends the run: FINISHED, KILLED (by Ctrl-C or `SystemExit`) or FAILED. Without
    arguments it records nothing, as on all ranks but 0.
    """

    def __init__(
        self, *folders: Path, iteration: int = 0, epoch: int = 0, sender: Sender | None = None
    ) -> None:
        """Open losses.csv and validation.csv, cut back to the checkpoint.

        Args:
            folders: where both are written.
            iteration: finished iterations of the checkpoint; 0 if the training begins.
            epoch: validated epochs of the checkpoint.
            sender: sends the run to MLflow; only MLflow gets pictures and the model.
        """
        # Epoch 0 validates the initial weights, and a training that begins anew does it again.
        ends = (iteration, epoch) if iteration else (None, None)
        self._losses = [CsvTable(f / LOSSES, ("iteration", "epoch"), ends[0]) for f in folders]
        self._validation = [CsvTable(f / VALIDATION, ("epoch",), ends[1]) for f in folders]
        self._sender = sender
        if sender:
            sender.start()

    def __enter__(self) -> Self:
        """Return the recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the run; say so if MLflow does not have all of it."""
        status: Status = "FINISHED"
        if kind is not None:
            killed = issubclass(kind, (KeyboardInterrupt, SystemExit))
            status = "KILLED" if killed else "FAILED"
        for table in (*self._losses, *self._validation):
            table.close(finished=status == "FINISHED")
        if self._sender:
            self._sender.run.end(status)
            if problem := self._sender.finish():
                say(problem)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the losses of an iteration: `train/<name>` in MLflow."""
        for table in self._losses:
            table.add({"iteration": iteration, "epoch": epoch}, losses)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics of an epoch: `val/<name>` in MLflow."""
        for table in self._validation:
            table.add({"epoch": epoch}, metrics)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Record a picture under `key`, such as `val/grid`, in MLflow."""
        if self._sender:
            name = f"{key.replace('/', '~')}+step+{epoch}.png"
            with io.file_aside(self._sender.run.folder / IMAGES / name) as aside:
                picture.save(aside, format="PNG", compress_level=1)

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the folder of the final weights and the SHA-256 of generator.safetensors."""
        if self._sender:
            self._sender.run.model = {"sha256": sha256, "folder": str(folder.absolute())}
            self._sender.run.write()


def open_recorder(run: RunDescription) -> Recorder:
    """Begin to record a training run, to CSV and, where it is installed, to MLflow.

    A training that resumes continues the same files and the same MLflow run.
    """
    mlflow_log = _mlflow_log()
    if mlflow_log is None:
        return Recorder(run.folder, iteration=run.iteration, epoch=run.epoch)
    unsent, lock = _unsent_training(run)
    for name in (LOSSES, VALIDATION):
        if (run.folder / name).exists():
            shutil.copy2(run.folder / name, unsent.folder / name)
    sender = mlflow_log.Sender(unsent, lock, live=True)
    folders = run.folder, unsent.folder
    return Recorder(*folders, iteration=run.iteration, epoch=run.epoch, sender=sender)


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
    run = UnsentRun(stage, uuid.uuid4().hex, lineage.run_name(stage), metrics=dict(metrics))
    with lock_of(run.folder):
        _describe_origin(run, space)
        run.tags[mlflow_log.MEASURED_TAG] = generator_sha256
        for path in artifacts:
            if path.is_dir():
                shutil.copytree(path, run.folder / FILES / path.name)
            else:
                shutil.copy2(path, run.folder / FILES / path.name)
        run.end("FINISHED")
    # Earlier runs first: the training of these weights may be among them.
    for sent, problem in _send_waiting():
        if problem or sent.token != run.token:
            say(problem or _sent_sentence(sent))


def send_unsent() -> None:
    """Send MLflow what earlier runs could not send; say what was done.

    A run whose process was killed becomes KILLED in MLflow. A store that is away costs a sentence.
    """
    for run, problem in _send_waiting():
        say(problem or _sent_sentence(run))


def sync() -> str:
    """Send MLflow what earlier runs could not send; return what was done.

    Raises:
        ColorganError: MLflow is not installed, or still does not have all of a run.
    """
    if find_spec("mlflow") is None:
        raise ColorganError(NOT_INSTALLED)
    outcomes = list(_send_waiting())
    if problems := [problem for _, problem in outcomes if problem]:
        raise ColorganError("\n".join(problems))
    return "\n".join(_sent_sentence(run) for run, _ in outcomes) or "MLflow has all runs already"


def _send_waiting() -> Iterator[tuple[UnsentRun, str]]:
    """Send the runs that wait; yield each with what went wrong, empty if nothing did."""
    for run, lock in take_waiting():
        mlflow_log = _mlflow_log()
        if mlflow_log is None:
            lock.release()
            return
        sender = mlflow_log.Sender(run, lock)
        sender.start()
        problem = sender.finish()
        yield run, problem
        if problem and isinstance(sender.error, mlflow_log.StoreAwayError | None):
            # The other runs would wait for the store too.
            return


def _sent_sentence(run: UnsentRun) -> str:
    return f"MLflow has got what it had missed of run {run.name!r}"


def _unsent_training(run: RunDescription) -> tuple[UnsentRun, FileLock]:
    """Return the run for MLflow, described in its folder as one that runs now, and its lock."""
    unsent = UnsentRun(run.stage, run.token, lineage.run_name(run.stage))
    lock = lock_of(unsent.folder)
    with suppress(Timeout):
        # If another process sends this run just now, the sender waits for it.
        lock.acquire(blocking=False)
    if begun := UnsentRun.read(unsent.folder):
        unsent = begun
    else:
        data = run.dataset
        _describe_origin(unsent, run.space)
        io.write_json(unsent.folder / FILES / "params.json", dict(run.params))
        unsent.params = dict(run.params)
        unsent.tags |= {"data.digest": data.digest, "mlflow.loggedImages": "True", **run.extra}
        unsent.dataset = {
            "name": paths.processed(run.space).as_posix(),
            "digest": data.digest,
            "profile": {**data.counts, "rejected": data.rejected},
        }
    if run.iteration:
        unsent.tags[RESUMED_TAG] = str(run.iteration)
    unsent.status, unsent.ended = None, None
    unsent.write()
    return unsent, lock


def _describe_origin(run: UnsentRun, space: str) -> None:
    """Tag a run with where it comes from; write the packages and the git diff beside it."""
    commit, diff = lineage.git_state(Path.cwd())
    run.tags = lineage.origin(run.stage, space, commit, diff)
    files = run.folder / FILES
    files.mkdir(parents=True, exist_ok=True)
    (files / "environment.txt").write_text(lineage.environment(), encoding="utf-8")
    if diff:
        (files / "git.diff").write_text(diff, encoding="utf-8", newline="")


def _mlflow_log() -> Any:
    """Return the module that writes to MLflow; None, said in a sentence, without MLflow."""
    if find_spec("mlflow") is None:
        say("mlflow is not installed: recording to CSV and JSON alone")
        return None
    from colorgan.tracking import mlflow_log

    return mlflow_log
