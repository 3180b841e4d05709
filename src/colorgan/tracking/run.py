"""Records runs: to CSV files, and to MLflow if it is installed."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from PIL import Image

from colorgan import io
from colorgan.errors import ColorganError, say
from colorgan.tracking import lineage
from colorgan.tracking.csv_log import LOSSES, VALIDATION, CsvTable
from colorgan.tracking.unsent import (
    FILES,
    IMAGES,
    MEASURED_TAG,
    RESUMED_TAG,
    RUN,
    RunDescription,
    Status,
    lock_of,
    take_waiting,
)

if TYPE_CHECKING:
    from colorgan.tracking.mlflow_log import Sender


class Recorder:
    """Records what a training run reports; a context manager.

    Leaving the block ends the run: FINISHED, KILLED (by Ctrl-C or `SystemExit`) or FAILED. Without
    arguments it records nothing, as on all ranks but 0.
    """

    def __init__(
        self, *folders: Path, iteration: int = 0, epoch: int = 0, sender: Sender | None = None
    ) -> None:
        """Open losses.csv and validation.csv in each folder, cut back to the checkpoint.

        `iteration` and `epoch` are the last ones of the checkpoint; 0 if the training begins. Only
        the sender gets pictures and the model.
        """
        # Epoch 0 validates the initial weights, and a training that begins anew does it again.
        ends = (iteration, epoch) if iteration else (None, None)
        self._losses = [CsvTable(f / LOSSES, ("iteration", "epoch"), ends[0]) for f in folders]
        self._validation = [CsvTable(f / VALIDATION, ("epoch",), ends[1]) for f in folders]
        self._sender = sender
        if sender:
            sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status: Status = "FINISHED"
        if kind is not None:
            killed = issubclass(kind, (KeyboardInterrupt, SystemExit))
            status = "KILLED" if killed else "FAILED"
        else:
            for table in (*self._losses, *self._validation):
                table.finish()
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
            self._sender.run.keep_model(folder, sha256)


def open_recorder(
    run: RunDescription, folder: Path, iteration: int = 0, epoch: int = 0
) -> Recorder:
    """Begin to record a training run, to CSV in its folder and to MLflow if that is installed.

    A training that resumes, after `iteration` and `epoch`, keeps its first description. Runs that
    wait are sent in the background.
    """
    mlflow_log = _mlflow_log()
    if mlflow_log is None:
        return Recorder(folder, iteration=iteration, epoch=epoch)
    run, lock = _begin(run, folder)
    if iteration:
        run.tags[RESUMED_TAG] = str(iteration)
    run.status, run.ended = None, None
    run.write()
    sender = mlflow_log.Sender(run, lock, live=True)
    # Now that this run is locked: it may have been killed before.
    send_unsent()
    return Recorder(folder, run.folder, iteration=iteration, epoch=epoch, sender=sender)


def record_finished(run: RunDescription, folder: Path, model: Path, sha256: str) -> None:
    """Record a training that has finished in `folder` earlier, unless MLflow has it already."""
    if _mlflow_log() is not None:
        run, lock = _begin(run, folder)
        run.keep_model(model, sha256)
        _end_and_send(run, lock)


def record_results(
    stage: str,
    space: str,
    generator_sha256: str,
    metrics: Mapping[str, float],
    artifacts: Sequence[Path],
) -> None:
    """Record what was measured or drawn with a trained generator, as a run of its own.

    In MLflow it is a child of the newest training run that made these weights, if there is one.
    """
    if _mlflow_log() is None:
        return
    tags = {"space": space, MEASURED_TAG: generator_sha256}
    run, lock = _begin(RunDescription(stage, uuid.uuid4().hex, tags=tags, metrics=dict(metrics)))
    for path in artifacts:
        shutil.copy2(path, run.folder / FILES / path.name)
    _end_and_send(run, lock)


def send_unsent() -> threading.Thread:
    """Send MLflow what earlier runs could not send, in the background, and say what was done."""
    thread = threading.Thread(target=_send_and_say, name="colorgan-sender", daemon=True)
    thread.start()
    return thread


def sync() -> str:
    """Send MLflow what earlier runs could not send; return what was done.

    ColorganError if MLflow still does not have all of a run, ModuleNotFoundError without MLflow.
    """
    outcomes = list(_send_waiting())
    if problems := [sentence for _, sent, sentence in outcomes if not sent]:
        raise ColorganError("\n".join(problems))
    return "\n".join(sentence for *_, sentence in outcomes) or "MLflow has all runs already"


def _end_and_send(run: RunDescription, lock: FileLock) -> None:
    """End a run and send it with all that wait: its parent may be among them."""
    run.end("FINISHED")
    lock.release()
    _send_and_say(run.folder)


def _send_and_say(own: Path | None = None) -> None:
    """Send the waiting runs and say so; about the run in the folder `own`, say only problems."""
    for folder, sent, sentence in _send_waiting():
        if not sent or folder != own:
            say(sentence)


def _send_waiting() -> Iterator[tuple[Path, bool, str]]:
    """Send the runs that wait; yield the folder of each, whether it was sent, and a sentence."""
    from colorgan.tracking.mlflow_log import Sender

    for folder, run, lock in take_waiting():
        if run is None:
            lock.release()
            unread = f"{folder / RUN} cannot be read, so its run is not sent to MLflow"
            yield folder, False, f"{unread}: put a whole copy of it back, or delete the folder"
            continue
        sender = Sender(run, lock)
        sender.start()
        problem = sender.finish()
        yield folder, not problem, problem or f"MLflow has got what it had missed of {run}"
        if problem and not sender.reached:
            # The other runs would wait for the store too.
            return


def _begin(run: RunDescription, training: Path | None = None) -> tuple[RunDescription, FileLock]:
    """Write a run's folder, with the CSV files of a training; return the run and its lock.

    The description of a run that has begun before stays.
    """
    lock = lock_of(run.folder)
    with suppress(Timeout):
        # If another process sends this run just now, the sender waits for it.
        lock.acquire(blocking=False)
    if begun := RunDescription.read(run.folder):
        run = begun
    else:
        commit, diff = lineage.git_state(Path(os.environ.get(lineage.PROJECT) or Path.cwd()))
        run.name = f"{os.environ.get('DVC_EXP_NAME') or 'workspace'} / {run.stage}"
        run.tags = lineage.origin(run.stage, commit, diff) | run.tags
        files = run.folder / FILES
        files.mkdir(parents=True, exist_ok=True)
        (files / "environment.txt").write_text(lineage.environment(), encoding="utf-8")
        if diff:
            (files / "git.diff").write_text(diff, encoding="utf-8", newline="")
        if run.params:
            io.write_json(files / "params.json", run.params)
    for name in (LOSSES, VALIDATION):
        if training and (training / name).exists():
            shutil.copy2(training / name, run.folder / name)
    return run, lock


def _mlflow_log() -> Any:
    """Return the module that writes to MLflow; None, said in a sentence, without MLflow."""
    if find_spec("mlflow") is None:
        say("mlflow is not installed: recording to CSV and JSON alone")
        return None
    from colorgan.tracking import mlflow_log

    return mlflow_log
