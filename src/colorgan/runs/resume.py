"""Where a training keeps what it needs to go on after a kill, and its finished results.

::

    .resume/train_<space>/<digest>/
        training.json             the token that names this training in every record
        checkpoint.safetensors    where it stands
        best.safetensors          the best weights so far, with `train.keep: best`
    losses.csv validation.csv what was recorded, read while it trains
        finished/                 the model, once training is done; then also
        finished.json             when everything is recorded: a later start only puts it out

The digest is that of the resolved parameters, the data, the kind of device and the code that
decides the result: any other is another training. DVC deletes a stage's outs before it runs, so
they cannot lie there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from colorgan import io, paths
from colorgan.config import SpaceParams, flat
from colorgan.model import CONFIG, WEIGHTS
from colorgan.runs.lock import LOCK

# The modules that decide the result of a training, as in dvc.yaml; a test compares them.
CODE = (
    "color.py",
    "model.py",
    "spaces.py",
    "data/arrays.py",
    "data/loader.py",
    "evaluation/metrics.py",
    "networks/*.py",
    "runs/compiling.py",
    "runs/distributed.py",
    "runs/runtime.py",
    "training/augment.py",
    "training/build.py",
    "training/ema.py",
    "training/initial_weights.py",
    "training/losses.py",
    "training/optim.py",
    "training/selection.py",
    "training/step.py",
    "training/train.py",
    "training/trainer.py",
    "training/validate.py",
)


def code_files() -> list[Path]:
    """Return the files of `CODE`, in a fixed order."""
    package = Path(__file__).parents[1]
    return [file for pattern in CODE for file in sorted(package.glob(pattern))]


def digest_of(params: SpaceParams, data_digest: str, init_sha256: str, device: str) -> str:
    """Return what tells one training from another, 16 hex digits.

    The kind of device counts: another one computes other weights, and cannot go on in fp16 or in a
    compiled mode that was chosen for this one.
    """
    parts = [
        json.dumps(flat(params), sort_keys=True),
        data_digest,
        init_sha256,
        device,
        *(io.sha256(file) for file in code_files()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ResumeFolder:
    """The folder of one training; see the head of this module."""

    path: Path

    @classmethod
    def of(cls, stage: str, digest: str) -> ResumeFolder:
        """Return the folder of a training, which is made if need be."""
        path = paths.resume(stage) / digest
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.path / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far, where those are to be kept."""
        return self.path / "best.safetensors"

    @property
    def model(self) -> Path:
        """The folder of the finished model."""
        return self.path / "finished"

    def token(self) -> str:
        """Return what names this training for good; written before anything is recorded."""
        content = _read(self.path / "training.json")
        if "token" not in content:
            content = {"token": uuid.uuid4().hex}
            io.write_json(self.path / "training.json", content)
        return str(content["token"])

    def finish(self, iteration: int, device: str) -> None:
        """Note that all is done and recorded; the checkpoint, the larger part, is not needed."""
        sha256 = io.sha256(self.model / WEIGHTS)
        content = {"iterations": iteration, "device": device, "sha256": sha256}
        io.write_json(self.path / "finished.json", content)
        # Only when the results have reached the disk may a power cut find the checkpoint gone.
        for path in (*self.model.iterdir(), self.model, self.path / "finished.json", self.path):
            io.sync(path)
        self.checkpoint.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)

    def finished(self, device: str) -> dict[str, Any] | None:
        """Return what `finish` noted, if it was on such a device and the model is whole."""
        content = _read(self.path / "finished.json")
        weights = self.model / WEIGHTS
        whole = weights.exists() and io.sha256(weights) == content.get("sha256")
        return content if whole and content.get("device") == device else None

    def is_finished(self) -> bool:
        """Say whether training came to its end here."""
        return (self.path / "finished.json").exists()

    def clean(self) -> None:
        """Remove what a kill has left half-written here."""
        io.remove_asides(self.path)

    def put_out(self, space: str) -> None:
        """Copy the model and the curves to where DVC expects them, each whole or not at all."""
        for out in (paths.model(space), paths.losses(space), paths.validation(space)):
            # A kill at this very place may have left something.
            io.remove_asides(out.parent, out.name)
        with io.folder_aside(paths.model(space)) as aside:
            for name in (WEIGHTS, CONFIG):
                shutil.copyfile(self.model / name, aside / name)
        for target in (paths.losses(space), paths.validation(space)):
            with io.file_aside(target) as aside:
                shutil.copyfile(self.path / target.name, aside)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Keep others from training here within the block; False if a process does already."""
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def is_begun(self) -> bool:
        """Say whether something of this training may have been recorded."""
        return (self.path / "training.json").exists()

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def others(self) -> list[ResumeFolder]:
        """Return the folders of other trainings of this stage, the newest first."""
        found = [path for path in self.path.parent.iterdir() if path.is_dir() and path != self.path]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        return [ResumeFolder(path) for path in found]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
