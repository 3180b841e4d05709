"""Runs that MLflow does not have whole yet, as plain files.

::

    .resume/unsent/<run>/
        run.json          name, parameters, tags, times and status; digest and place of the weights
        losses.csv validation.csv
        images/           sample pictures that are still to be sent
        files/            other artifacts, such as git.diff and environment.txt
    .resume/unsent/<run>.lock     held by the process that records or sends the run
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from colorgan import io, paths
from colorgan.tracking.csv_log import LOSSES, VALIDATION

Status = Literal["FINISHED", "FAILED", "KILLED"]

RUN, IMAGES, FILES = "run.json", "images", "files"


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)


@dataclass
class UnsentRun:
    """The content of run.json; times are in milliseconds since 1970.

    Attributes:
        kind: a training, or what was measured or drawn with its weights.
        stage: the stage that ran, such as `train_lab`.
        token: identifies the run for good, however often it is stopped and resumed.
        name: its name in MLflow.
        dataset: name, digest and profile of the data it trains on.
        metrics: metrics without a step.
        status: how it ended; None while it runs, and after a kill.
        starts: how often a process has begun or resumed it.
        resumed_from: the iterations of the checkpoints it was resumed from.
        model: `sha256` of the generator, and the `folder` it was saved in.
    """

    kind: Literal["training", "results"]
    stage: str
    token: str
    name: str
    params: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, Any] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    started: int = field(default_factory=now)
    ended: int | None = None
    status: Status | None = None
    starts: int = 0
    resumed_from: list[int] = field(default_factory=list)
    model: dict[str, str] | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the run in `folder`, or None if there is none."""
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((folder / RUN).read_text(encoding="utf-8")))
        return None

    @property
    def folder(self) -> Path:
        """Where the files of the run lie."""
        return folder_of(self.stage, self.token)

    def write(self) -> None:
        """Write run.json."""
        io.write_json(self.folder / RUN, asdict(self))

    def end(self, status: Status, at: int | None = None) -> None:
        """Note how the run has ended, and when."""
        self.status, self.ended = status, at or now()
        self.write()

    def last_written(self) -> int:
        """Return when the run was last heard of."""
        files = [self.folder / name for name in (RUN, LOSSES, VALIDATION)]
        return int(1000 * max(file.stat().st_mtime for file in files if file.exists()))

    def remove(self) -> None:
        """Remove the folder, unless a training has resumed the run since it was read."""
        there = UnsentRun.read(self.folder)
        if there and there.starts == self.starts:
            shutil.rmtree(self.folder, ignore_errors=True)


def folder_of(stage: str, token: str) -> Path:
    """Return the folder of a run."""
    return paths.resume("unsent") / f"{stage}-{token}"


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a run."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Taken by the main thread, released by the thread that sends.
    return FileLock(folder.with_name(f"{folder.name}.lock"), thread_local=False)


def release(lock: FileLock, folder: Path) -> None:
    """Release the lock of a run; it is removed with the folder."""
    if not folder.exists():
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release(force=True)


def take_waiting() -> Iterator[tuple[UnsentRun, FileLock]]:
    """Yield the runs that no process records any more, the oldest first, each with its lock."""
    folders = [path for path in paths.resume("unsent").glob("*") if path.is_dir()]
    started = {path: run.started if (run := UnsentRun.read(path)) else 0 for path in folders}
    for folder in sorted(folders, key=started.__getitem__):
        lock = lock_of(folder)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        # Read again: another process may have sent it meanwhile.
        if run := UnsentRun.read(folder):
            yield run, lock
        else:
            # A kill came before run.json was written, or while the folder was removed.
            shutil.rmtree(folder, ignore_errors=True)
            release(lock, folder)
