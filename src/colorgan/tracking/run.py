"""Records runs: to CSV files, and to MLflow if it is installed."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout
from PIL import Image

from colorgan import io, paths
from colorgan.errors import ColorganError, say
from colorgan.tracking import lineage
from colorgan.tracking.csv_log import LOSSES, VALIDATION, add_row, cut_back
from colorgan.tracking.unsent import FILES, IMAGES, MEASURED_TAG, RUN, RunDescription, lock_of

if TYPE_CHECKING:
    from colorgan.tracking.mlflow_log import BackgroundSender


class Recorder:
    """Records what a training run reports; a context manager.

    Leaving the block ends the run: FINISHED, KILLED (by Ctrl-C or `SystemExit`) or FAILED. Without
    arguments it records nothing, as on all ranks but 0.
    """

    def __init__(
        self,
        *folders: Path,
        iteration: int = 0,
        epoch: int = 0,
        sender: BackgroundSender | None = None,
    ) -> None:
        """Open losses.csv and validation.csv in each folder, cut back to the checkpoint.

        `iteration` and `epoch` are the last ones of the checkpoint; 0 if the training begins. Only
        the sender gets pictures and the model.
        """
        self._folders, self._sender = folders, sender
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            # Epoch 0 validates the initial weights, and a training that begins anew does it again.
            cut_back(folder / LOSSES, iteration or -1)
            cut_back(folder / VALIDATION, epoch if iteration else -1)
        if sender:
            sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        status = "FINISHED"
        if kind is not None:
            killed = issubclass(kind, (KeyboardInterrupt, SystemExit))
            status = "KILLED" if killed else "FAILED"
        else:
            for folder in self._folders:
                # DVC expects both files.
                for name, columns in ((LOSSES, "iteration,epoch"), (VALIDATION, "epoch")):
                    if not (folder / name).exists():
                        (folder / name).write_text(f"{columns}\n", encoding="utf-8")
        if self._sender:
            self._sender.recorded.end(status)
            if problem := self._sender.finish():
                say(problem)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the losses of an iteration: `train/<name>` in MLflow."""
        for folder in self._folders:
            add_row(folder / LOSSES, {"iteration": iteration, "epoch": epoch}, losses)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics of an epoch: `val/<name>` in MLflow."""
        for folder in self._folders:
            add_row(folder / VALIDATION, {"epoch": epoch}, metrics)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Record a picture under `key`, such as `val/grid`, in MLflow."""
        if self._sender:
            name = f"{key.replace('/', '~')}+step+{epoch}.png"
            with io.file_aside(self._sender.recorded.folder / IMAGES / name) as aside:
                picture.save(aside, format="PNG", compress_level=1)

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the folder of the final weights and the SHA-256 of generator.safetensors."""
        if self._sender:
            self._sender.recorded.keep_model(folder, sha256)


def open_recorder(
    run: RunDescription, folder: Path, iteration: int = 0, epoch: int = 0
) -> Recorder:
    """Begin to record a training run, to CSV in its folder and to MLflow if that is installed.

    A training that resumes, after `iteration` and `epoch`, keeps its first description.
    """
    if not _has_mlflow():
        return Recorder(folder, iteration=iteration, epoch=epoch)
    from colorgan.tracking.mlflow_log import BackgroundSender

    run, lock = _begin(run, folder)
    run.status, run.ended = None, None
    run.write()
    sender = BackgroundSender(run, lock)
    return Recorder(folder, run.folder, iteration=iteration, epoch=epoch, sender=sender)


def record_finished(run: RunDescription, folder: Path, model: Path, sha256: str) -> None:
    """Record a training that has finished in `folder` earlier, unless MLflow has it already."""
    if _has_mlflow():
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

    In MLflow it is a child of the newest training run that made these weights, if there is one. Of
    a folder, all files are recorded.
    """
    if not _has_mlflow():
        return
    tags = {"space": space, MEASURED_TAG: generator_sha256}
    run, lock = _begin(RunDescription(stage, uuid.uuid4().hex, tags=tags, metrics=dict(metrics)))
    for path in artifacts:
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, run.folder / FILES / path.name)
    _end_and_send(run, lock)


def sync() -> str:
    """Send MLflow what it lacks of all runs; return what was done.

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
    for folder, sent, sentence in _send_waiting():
        if not sent or folder != run.folder:
            say(sentence)


def _send_waiting() -> Iterator[tuple[Path, bool, str]]:
    """Send the runs that no process records, the oldest first; of a killed one, say so to MLflow.

    Yields the folder of each, whether MLflow has it now, and a sentence.
    """
    from colorgan.tracking.mlflow_log import connect, send

    store = None
    folders = [path for path in paths.resume("unsent").glob("*") if path.is_dir()]
    started = {path: run.started if (run := RunDescription.read(path)) else 0 for path in folders}
    for folder in sorted(folders, key=started.__getitem__):
        # Another process may be sending the run, or have sent it and removed its folder.
        with suppress(Timeout, FileNotFoundError), lock_of(folder).acquire(blocking=False):
            if not (folder / RUN).exists():
                # A kill came before it was written, or while the folder was removed.
                shutil.rmtree(folder, ignore_errors=True)
                continue
            run = RunDescription.read(folder)
            if run is None:
                unread = f"{folder / RUN} cannot be read, so its run is not sent to MLflow"
                yield folder, False, f"{unread}: put a whole copy of it back, or delete the folder"
                continue
            if run.status is None:
                files = [folder / name for name in (RUN, LOSSES, VALIDATION)]
                last = max(file.stat().st_mtime for file in files if file.exists())
                run.end("KILLED", at=int(1000 * last))
            try:
                store = store or connect()
                send(run, *store)
            except ColorganError as problem:
                yield folder, False, run.kept(problem)
                if store is None:
                    # The other runs would wait for the store too.
                    return
            else:
                run.remove_sent()
                yield folder, True, f"MLflow has got what it had missed of {run}"


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
    for name in (LOSSES, VALIDATION):
        if training and (training / name).exists():
            shutil.copy2(training / name, run.folder / name)
    return run, lock


def _has_mlflow() -> bool:
    """Return whether MLflow is installed; if not, say so."""
    if find_spec("mlflow"):
        return True
    say("mlflow is not installed: recording to CSV and JSON alone")
    return False
