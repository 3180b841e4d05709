"""The thread that mirrors a run to MLflow; imports no MLflow.

A training writes plain files and never waits for a store. What the store does not have stays in
`.resume/unsent`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from PIL import Image

from colorgan import io
from colorgan.errors import ColorganError
from colorgan.tracking.csv_log import LOSSES, VALIDATION, CsvSink
from colorgan.tracking.unsent import IMAGES, Status, UnsentRun, release

if TYPE_CHECKING:
    from colorgan.tracking.mlflow_log import RunSender

SEND_EVERY = 5.0
"""Seconds between two rounds of sending, each of 10 to 25 ms, however many points it sends."""
PATIENCE = 25.0
"""Seconds without anything arriving after which a store is not waited for any longer."""


class Mirror:
    """Sends a run in rounds, in a daemon thread, until it is closed.

    Attributes:
        error: what the last round failed with, if it did.
    """

    def __init__(
        self, run: UnsentRun, lock: FileLock, sender: RunSender, *, ended: bool = False
    ) -> None:
        """Begin; `ended` says that the run has ended, so that one round is enough.

        If another process sends the run and so holds its lock, the thread waits for it.
        """
        self.error: ColorganError | None = None
        self._run = run
        self._lock = lock
        self._sender = sender
        self._done = False
        self._ending = threading.Event()
        if ended:
            self._ending.set()
        self._thread = threading.Thread(target=self._work, name="colorgan-mirror", daemon=True)
        self._thread.start()

    def close(self) -> bool:
        """Send what is left and wait while something arrives; return whether MLflow has it all."""
        closed_at = time.monotonic()
        self._ending.set()
        while self._thread.is_alive():
            self._thread.join(0.1)
            silent = time.monotonic() - max(closed_at, self._sender.moved_at)
            if silent > PATIENCE and not self._sender.uploading:
                break
        return self._done

    def not_sent(self) -> str:
        """Return the sentence for a run that MLflow does not have all of."""
        return (
            f"{self.error or 'MLflow does not answer'}: what it does not have of run "
            f"{self._run.name!r} is kept in {self._run.folder}, and the next training or "
            "`python -m colorgan sync` sends it"
        )

    def _work(self) -> None:
        if not self._lock.is_locked:
            self._lock.acquire()
        warned = last = False
        while not last:
            last = self._ending.is_set()
            try:
                self._sender.send(last=last)
                self.error = None
            except ColorganError as error:
                self.error = error
                if not last and not warned:
                    warned = True
                    say(f"{error}: training goes on, and what could not be sent is sent later")
            if not last:
                self._ending.wait(SEND_EVERY)
        if self.error is None:
            self._run.remove()
            self._done = True
        release(self._lock, self._run.folder)


class MirrorSink:
    """Writes a training to `.resume/unsent`, from where a `Mirror` sends it."""

    def __init__(
        self, run: UnsentRun, lock: FileLock, sender: RunSender, iteration: int, epoch: int
    ) -> None:
        """Go on with the CSV files of `run` from a checkpoint."""
        self._run = run
        self._csv = CsvSink(run.folder / LOSSES, run.folder / VALIDATION, iteration, epoch)
        self._mirror = Mirror(run, lock, sender)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the losses of an iteration: `train/<name>` in MLflow."""
        self._csv.log_losses(iteration, epoch, losses)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics of an epoch: `val/<name>` in MLflow."""
        self._csv.log_validation(epoch, metrics)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Record a picture."""
        name = f"{key.replace('/', '~')}+step+{epoch:06d}.png"
        with io.file_aside(self._run.folder / IMAGES / name) as aside:
            picture.save(aside, format="PNG", compress_level=1)

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the final weights."""
        self._run.model = {"sha256": sha256, "folder": str(folder.absolute())}
        self._run.write()

    def close(self, status: Status) -> None:
        """End the run; says so if MLflow does not have all of it."""
        self._csv.close(status)
        self._run.end(status)
        if not self._mirror.close():
            say(self._mirror.not_sent())


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    print(sentence, file=sys.stderr, flush=True)
