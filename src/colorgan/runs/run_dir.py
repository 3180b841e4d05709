"""The folder of a training, outside of the stage's outs, which DVC deletes before each run.

::

    .resume/train_<space>/<digest>/
        training.json             the token that names this training in every record
        checkpoint.safetensors    from which it resumes
        best/                     the best weights so far, with `train.keep: best`
        losses.csv validation.csv the curves, row by row
        finished/                 the model, once training is done
        done                      all is recorded: a later start only copies the results
        lock, pid                 of the process that trains here

The digest is that of the parameters, the data, the code that decides the result, the kind of device
and its precision; a change of any is another training.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from colorgan import io, paths
from colorgan.config import SpaceParams, flat
from colorgan.errors import ColorganError, say
from colorgan.model import CONFIG, WEIGHTS
from colorgan.runs.checkpoint import VERSION, Checkpoint, made_with
from colorgan.runs.progress import TrainingProgress
from colorgan.runs.runtime import Runtime

CODE = (
    "color.py",
    "model.py",
    "spaces.py",
    "data/arrays.py",
    "data/loader.py",
    "evaluation/equal_colorfulness.py",
    "evaluation/frechet.py",
    "evaluation/metrics.py",
    "networks/*.py",
    "runs/distributed.py",
    "runs/runtime.py",
    "training/*.py",
)
"""The modules that decide the result of a training: the code deps in dvc.yaml; a test compares."""
OTHERS_KEPT = 4
"""Folders of other trainings of a stage that are kept, so that they can be resumed."""
LOCK_SECONDS = 10.0
"""How long to wait for a lock: the loader's workers of a killed training hold it for 5 s more."""


def code_files() -> list[Path]:
    """Return the files of `CODE`, in a fixed order."""
    package = Path(__file__).parents[1]
    return [file for pattern in CODE for file in sorted(package.glob(pattern))]


def digest_of(cfg: SpaceParams, data_digest: str, init_sha256: str, runtime: Runtime) -> str:
    """Return 16 hex digits that tell one training from another; `auto` counts as resolved."""
    parts = [
        f"checkpoint {VERSION}",
        json.dumps(flat(cfg), sort_keys=True),
        data_digest,
        init_sha256,
        runtime.device.type,
        runtime.precision,
        runtime.compile,
        *(io.sha256(file) for file in code_files()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class RunDir:
    """The folder of one training, as the head of this module says; made if it does not exist."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.done = path, path / "done"
        self.checkpoint = path / "checkpoint.safetensors"
        self.best = path / "best"
        self.model = path / "finished"

    def token(self) -> str:
        """Return the name of this training for good, the same after each resume."""
        file = self.path / "training.json"
        if not file.exists():
            io.write_json(file, {"token": uuid.uuid4().hex})
        return str(json.loads(file.read_text(encoding="utf-8"))["token"])

    @contextmanager
    def locked(self, title: str) -> Iterator[None]:
        """Let one process at a time train here, and remove what a killed one left half-written.

        ColorganError if another one trains here. `title` is what it trains.
        """
        pid = self.path / "pid"
        try:
            with FileLock(self.path / "lock", timeout=LOCK_SECONDS):
                pid.write_text(str(os.getpid()), encoding="utf-8")
                io.remove_asides(self.path)
                yield
                self._remove_oldest()
        except Timeout:
            holder = pid.read_text(encoding="utf-8") if pid.exists() else "unknown"
            raise ColorganError(
                f"process {holder} is training {title} with these parameters and data already, in "
                f"{self.path}: wait for it, or stop it with `kill {holder}`"
            ) from None

    def _remove_oldest(self) -> None:
        """Remove the oldest folders of other trainings of this stage, unless they are in use."""
        others = {path for path in self.path.parent.iterdir() if path.is_dir()} - {self.path}
        newest_first = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
        for other in newest_first[OTHERS_KEPT:]:
            with suppress(Timeout), FileLock(other / "lock", timeout=0):
                shutil.rmtree(other, ignore_errors=True)

    def read_checkpoint(self, progress: TrainingProgress) -> Checkpoint | None:
        """Read the checkpoint; None, and a sentence why, if training begins anew."""
        if not self.checkpoint.exists():
            others = self.path.parent.glob(f"*/{self.checkpoint.name}")
            newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
            if newest:
                progress.say(f"begins anew: {newest} is of other parameters, data or code")
            return None
        try:
            checkpoint = Checkpoint.read(self.checkpoint)
        except ColorganError as error:
            say(f"{progress.title}: {error}: training begins anew")
            self.checkpoint.unlink()
            return None
        if checkpoint.made_with != made_with():
            say(
                f"{progress.title}: the checkpoint is of {checkpoint.made_with}, this is "
                f"{made_with()}: the weights may differ from those of an unbroken training"
            )
        return checkpoint

    def finish(self) -> None:
        """Mark the training as finished and recorded, and remove its checkpoint."""
        # On disk before the checkpoint is gone, against a power cut.
        for path in (*self.model.iterdir(), self.model):
            io.sync(path)
        self.done.touch()
        io.sync(self.path)
        self.checkpoint.unlink(missing_ok=True)
        shutil.rmtree(self.best, ignore_errors=True)

    def copy_to_outs(self, space: str) -> None:
        """Copy the model and the curves to the stage's outs, each whole or not at all."""
        for out in (paths.model(space), paths.losses(space), paths.validation(space)):
            # A kill at this point may have left something.
            io.remove_asides(out.parent, out.name)
        with io.folder_aside(paths.model(space)) as aside:
            for name in (WEIGHTS, CONFIG):
                shutil.copyfile(self.model / name, aside / name)
        for out in (paths.losses(space), paths.validation(space)):
            with io.file_aside(out) as aside:
                shutil.copyfile(self.path / out.name, aside)
