"""Runs that MLflow does not have whole yet, as plain files.

::

    .resume/unsent/<run>/
        run.json          name, parameters, tags, times and status; digest and place of the weights
        losses.csv validation.csv
        images/           sample pictures that are still to be sent
        files/            other artifacts, such as git.diff and environment.txt
        .lock             held by the process that records or sends the run
"""

from __future__ import annotations

import json
import os
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
RESUMED_TAG = "resumed.from"
"""Iteration of the checkpoint from which a training was resumed last."""
MEASURED_TAG = "colorgan.measured_sha256"
"""SHA-256 of the generator that a run of results measured; training runs have another tag."""


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)


@dataclass
class RunDescription:
    """What is known of a run: the content of run.json. Times are in milliseconds since 1970.

    Attributes:
        token: identifies the run, however often it is stopped and resumed.
        params: by dotted path.
        dataset: name, digest and profile of the data it trains on.
        metrics: those without a step.
        status: how it ended; None while it runs, and after a kill.
        model: `sha256` of the generator, and the `folder` it was saved in, from the project root.
    """

    stage: str
    token: str
    params: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, Any] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    name: str = ""
    started: int = field(default_factory=now)
    ended: int | None = None
    status: Status | None = None
    model: dict[str, str] | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the run in `folder`, or None if there is none."""
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads((folder / RUN).read_text(encoding="utf-8")))
        return None

    def __str__(self) -> str:
        return f"run {self.name!r}"

    @property
    def folder(self) -> Path:
        """Where the files of the run lie."""
        return paths.resume("unsent") / f"{self.stage}-{self.token}"

    def write(self) -> None:
        """Write run.json."""
        io.write_json(self.folder / RUN, asdict(self))

    def keep_model(self, folder: Path, sha256: str) -> None:
        """Write down where the weights lie; they are found there when the project has moved."""
        relative = os.path.relpath(folder.resolve(), paths.project_root())
        self.model = {"sha256": sha256, "folder": relative}
        self.write()

    def end(self, status: Status, at: int | None = None) -> None:
        """Write down how the run has ended, and when."""
        self.status, self.ended = status, at or now()
        self.write()


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a run, which one thread may acquire and another release."""
    return FileLock(folder / ".lock", thread_local=False)


def take_waiting() -> Iterator[tuple[Path, RunDescription | None, FileLock]]:
    """Lock and yield the folders of runs that no process records, the oldest run first.

    The run is None if its run.json cannot be read. A run whose process was killed has the status
    KILLED from here on.
    """
    folders = [path for path in paths.resume("unsent").glob("*") if path.is_dir()]
    started = {path: run.started if (run := RunDescription.read(path)) else 0 for path in folders}
    for folder in sorted(folders, key=started.__getitem__):
        lock = lock_of(folder)
        # Another process may have sent the run meanwhile, and removed its folder.
        with suppress(Timeout, FileNotFoundError):
            lock.acquire(blocking=False)
            run = RunDescription.read(folder)
            if run and run.status is None:
                files = [folder / name for name in (RUN, LOSSES, VALIDATION)]
                last = max(file.stat().st_mtime for file in files if file.exists())
                run.end("KILLED", at=int(1000 * last))
            if run or (folder / RUN).exists():
                yield folder, run, lock
                continue
            # A kill came before run.json was written, or while the folder was removed.
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
