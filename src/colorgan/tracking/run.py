"""One recorder for a run, two sinks: CSV for DVC and for the eye, MLflow for everything else.

MLflow is imported only where a recorder is opened, and training goes on without it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TextIO

from PIL import Image

from colorgan import io
from colorgan.data.arrays import DatasetInfo

Status = Literal["FINISHED", "FAILED", "KILLED"]

UNSENT = "unsent"
"""Folder of a training that is there until MLflow has got everything of it, its end included."""


@dataclass(frozen=True)
class RunDescription:
    """What is known of a training run before it starts.

    Attributes:
        stage: the stage that runs, such as `train_lab`.
        space: the space it trains.
        params: resolved parameters by dotted path.
        dataset: what it trains on.
        extra: further tags, such as what `auto` stood for.
        folder: that of the training, where it keeps what it needs to go on; exists.
        token: names the training for good, however often it is stopped and goes on.
        iteration: finished iterations of the checkpoint that it goes on from, 0 if it begins.
        epoch: epochs of that checkpoint that are finished with their validation.
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
        """Keep a picture under `key`; the caller must not draw on it afterwards."""

    def log_model(self, folder: Path, sha256: str) -> None:
        """Keep the final weights, a whole folder, and the SHA-256 of generator.safetensors."""

    def close(self, status: Status) -> None:
        """End the run; nothing is logged after this."""


class CsvSink:
    """Losses and validation metrics as CSV, each with its own file.

    A row is there to be read at once. The files stay, whatever becomes of the run: a training
    that goes on from a checkpoint goes on with them.
    """

    def __init__(self, losses: Path, validation: Path, iteration: int = 0, epoch: int = 0) -> None:
        """Write to these two files, from which the rows after `iteration` and `epoch` are cut."""
        # Epoch 0 is that of the first weights: what begins anew validates them anew.
        none = iteration == 0
        self._losses = _Table(losses, ("iteration", "epoch"), -1 if none else iteration)
        self._validation = _Table(validation, ("epoch",), -1 if none else epoch)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Add a row of losses."""
        self._losses.add({"iteration": iteration, "epoch": epoch}, losses)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add a row of validation metrics."""
        self._validation.add({"epoch": epoch}, metrics)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Do nothing: a CSV file holds no pictures."""

    def log_model(self, folder: Path, sha256: str) -> None:
        """Do nothing: the weights are an out of their own."""

    def close(self, status: Status) -> None:
        """Close both files; of a run that has finished both are there, if need be without a row."""
        for table in (self._losses, self._validation):
            table.close(status == "FINISHED")


class _Table:
    """A CSV file whose columns are those of its first row."""

    def __init__(self, path: Path, steps: tuple[str, ...], last: int) -> None:
        """Keep the rows up to step `last`, in the first column, of what is there."""
        self._path = path
        self._steps = steps
        self._open: tuple[TextIO, csv.DictWriter[str]] | None = None
        lines = _lines_until(path, last)
        if len(lines) < 2:
            path.unlink(missing_ok=True)
            return
        with io.file_aside(path) as aside:
            aside.write_text("".join(lines), encoding="utf-8", newline="")
        file = path.open("a", encoding="utf-8", newline="")
        columns = lines[0].rstrip("\n").split(",")
        self._open = file, csv.DictWriter(file, columns, lineterminator="\n")

    def add(self, steps: Mapping[str, int], values: Mapping[str, float]) -> None:
        file, writer = self._open or self._begin(values)
        # Six digits are more than a loss means.
        writer.writerow({**steps, **{name: f"{value:.6g}" for name, value in values.items()}})
        file.flush()

    def close(self, finished: bool) -> None:
        if finished and not self._open:
            # DVC wants each declared file, also of a run that never came to validate.
            self._begin({})
        if self._open:
            self._open[0].close()

    def _begin(self, values: Mapping[str, float]) -> tuple[TextIO, csv.DictWriter[str]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w", encoding="utf-8", newline="")
        writer = csv.DictWriter(file, [*self._steps, *values], lineterminator="\n")
        writer.writeheader()
        file.flush()
        self._open = file, writer
        return self._open


def _lines_until(path: Path, last: int) -> list[str]:
    """Return the header and the rows up to step `last`; what a kill has cut short is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    header, *rows = [f"{line}\n" for line in text.split("\n")[:-1]] or [""]
    whole = [row for row in rows if row.count(",") == header.count(",")]
    return [header, *(row for row in whole if 0 <= _step(row) <= last)]


def _step(row: str) -> int:
    number = row.partition(",")[0]
    # What is no number comes after all that there are.
    return int(number) if number.isdecimal() else sys.maxsize


class Recorder:
    """Hands what a training run reports to every sink; a context manager.

    Leaving the block ends the run: FINISHED, KILLED (by Ctrl-C or `SystemExit`) or FAILED. A
    recorder without sinks keeps nothing, which is what the other processes of a group want.
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
        """Close every sink with what became of the run, also when one of them fails to."""
        status = _status(kind)
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
        """Record a picture under `key`, such as `val/grid`; do not draw on it afterwards."""
        for sink in self._sinks:
            sink.log_picture(picture, key, epoch)

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the folder of the final weights and the SHA-256 of generator.safetensors."""
        for sink in self._sinks:
            sink.log_model(folder, sha256)


def open_recorder(run: RunDescription) -> Recorder:
    """Begin recording a training run, to CSV and, where it is installed, to MLflow.

    A training that goes on goes on with the same files and the same run; what these already have
    is not recorded again.

    Raises:
        ColorganError: MLflow's store cannot be reached; names its URI.
    """
    losses, validation = run.folder / "losses.csv", run.folder / "validation.csv"
    table = CsvSink(losses, validation, run.iteration, run.epoch)
    mlflow_log = _mlflow_log()
    if mlflow_log is None:
        return Recorder(table)
    # Sinks close in reverse: the files before a store that may be slow.
    return Recorder(mlflow_log.open_run(run), table)


def is_unsent(folder: Path) -> bool:
    """Whether MLflow did not get everything of the training in `folder`, though it may be done."""
    return (folder / UNSENT).is_dir()


def send_rest(run: RunDescription, model: Path, sha256: str) -> None:
    """Send MLflow what it did not get of a training that has finished; its files are whole.

    Args:
        run: the training as it ended.
        model: the folder of its final weights.
        sha256: that of generator.safetensors.

    Raises:
        ColorganError: MLflow's store cannot be reached; names its URI.
    """
    mlflow_log = _mlflow_log()
    if mlflow_log is not None:
        with Recorder(mlflow_log.open_run(run)) as recorder:
            recorder.log_model(model, sha256)


def mark_killed(token: str) -> None:
    """Note in MLflow that a training is dead and nobody goes on with it; never raises."""
    with suppress(Exception):
        from colorgan.tracking import mlflow_log

        mlflow_log.mark_killed(token)


def send_unsent() -> None:
    """Send MLflow what earlier runs could not send; never raises."""


def record_results(
    stage: str,
    space: str,
    generator_sha256: str,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path],
) -> None:
    """Record what was measured or drawn with a trained generator, as a run of its own.

    It is a child of the training run that made these very weights, the newest if there are
    several, and stands alone where there is none, as with weights that were pulled.

    Args:
        stage: the stage that runs, such as `evaluate`.
        space: the space of the generator.
        generator_sha256: SHA-256 of its generator.safetensors.
        metrics: numbers by name.
        artifacts: files, or folders with all that is in them.

    Raises:
        ColorganError: MLflow's store cannot be reached; names its URI.
    """
    mlflow_log = _mlflow_log()
    if mlflow_log is not None:
        mlflow_log.record_results(stage, space, generator_sha256, metrics, artifacts)


def _mlflow_log() -> Any:
    """Return the module that speaks to MLflow, or None, having said so, if there is no MLflow."""
    try:
        from colorgan.tracking import mlflow_log
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        print("mlflow is not installed: recording to CSV and JSON alone", file=sys.stderr)
        return None
    return mlflow_log


def _status(kind: type[BaseException] | None) -> Status:
    if kind is None:
        return "FINISHED"
    return "KILLED" if issubclass(kind, (KeyboardInterrupt, SystemExit)) else "FAILED"
