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
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from colorgan import io, paths

RUN, IMAGES, FILES = "run.json", "images", "files"
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
        status: FINISHED, FAILED or KILLED; None while it runs, and after a kill.
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
    status: str | None = None
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
        """Note where the weights lie; they are found there when the project has moved."""
        relative = os.path.relpath(folder.resolve(), paths.project_root())
        self.model = {"sha256": sha256, "folder": relative}

    def kept(self, problem: object) -> str:
        """Return a sentence that says why not all of the run is sent, and where the rest is."""
        return (
            f"{problem}: what it does not have of {self} is kept in {self.folder}, and "
            "`python -m colorgan sync` sends it"
        )

    def remove_sent(self) -> None:
        """Remove the folder, unless another process has resumed the run while it was sent."""
        if (run := RunDescription.read(self.folder)) and run.status:
            shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, status: str, at: int | None = None) -> None:
        """Write down how the run has ended, and when."""
        self.status, self.ended = status, at or now()
        self.write()


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a run, which one thread may acquire and another release."""
    return FileLock(folder / ".lock", thread_local=False)
