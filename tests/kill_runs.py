"""Trainings in processes of their own, which a test can kill, interrupt and start again.

Importing torch and MLflow takes seconds. Python's fork server imports them once and forks a process
for each training, which runs the command line as `python -m colorgan` would.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from colorgan import cli
from colorgan.runs.checkpoint import Checkpoint
from tiny_project import dump_params, random_arrays

WEIGHTS = "generator.safetensors"
OUTS = ("models/lab/config.json", f"models/lab/{WEIGHTS}", "reports/lab/losses.csv",
        "reports/lab/validation.csv")  # fmt: skip
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["kill_runs", "colorgan.tracking.mlflow_log", "colorgan.training.train", "alembic.command",
     "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.artifact.local_artifact_repo",
     "mlflow.system_metrics.system_metrics_monitor", "sqlalchemy.dialects.sqlite",
     "torch._inductor"]
)  # fmt: skip
# No DVC, no torchrun: those are for some tests.
FOREIGN = ("DVC_", "MLFLOW_", "RANK", "WORLD_SIZE", "LOCAL_")


@dataclass(frozen=True)
class Place:
    """A project folder, with params.yaml, arrays and an MLflow store, in which `lab` is trained."""

    folder: Path

    def start(self, before: str = "") -> Life:
        return Life(self.folder, before)

    def train(self, before: str = "") -> str:
        """Run a training to its end; return what it printed."""
        life = self.start(before)
        assert life.wait(300) == 0, life.said
        return life.said

    def runs(self) -> list[Any]:
        """Return the MLflow runs."""
        experiment = self._client().get_experiment_by_name("colorgan")
        return list(self._client().search_runs([experiment.experiment_id]))

    def steps(self, run: Any) -> list[int]:
        """Return the iterations whose loss_D is in MLflow, sorted."""
        history = self._client().get_metric_history(run.info.run_id, "train/loss_D")
        return sorted(point.step for point in history)

    def _client(self) -> Any:
        # From there, which turns MLflow's telemetry off before it imports it.
        from colorgan.tracking.mlflow_log import MlflowClient

        return MlflowClient(f"sqlite:///{(self.folder / 'mlflow.db').as_posix()}")

    @property
    def checkpoint(self) -> Path:
        (found,) = self.folder.glob(".resume/train_lab/*/checkpoint.safetensors")
        return found

    def outs(self) -> dict[str, bytes]:
        return {name: (self.folder / name).read_bytes() for name in OUTS}

    def iteration(self) -> int:
        """Return the last iteration whose losses are in the live curve, 0 if none is."""
        last = 0
        for file in self.folder.glob(".resume/train_lab/*/losses.csv"):
            with suppress(OSError, ValueError, IndexError):
                last = int(file.read_text().splitlines()[-1].split(",")[0])
        return last

    def half_written(self) -> list[Path]:
        """Return files and folders that were written aside and never renamed."""
        return [*self.folder.rglob("*.part"), *self.folder.rglob("*.old")]


def stopped_at(said: str, place: Place) -> int:
    """Return the iteration after which it says it was stopped, which its checkpoint has too."""
    (number,) = re.findall(
        r"^train lab: stopped after iteration (\d+) of \d+; the same command resumes$", said, re.M
    )
    assert Checkpoint.read(place.checkpoint).tensors["iteration"] == int(number)
    return int(number)


class Life:
    """A process that trains `lab` in a folder; the code `before` runs first."""

    def __init__(self, folder: Path, before: str) -> None:
        self._log = folder / "log"
        self._process = PROCESSES.Process(target=_live, args=(folder, self._log, before))
        self._process.start()

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ended(self) -> bool:
        return self._process.exitcode is not None

    def signal(self, number: int) -> None:
        """Send a signal to its process group, as a terminal does."""
        assert self._process.pid is not None
        os.killpg(self._process.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """Wait for its end; return the exit code, negative for the signal that ended it."""
        self._process.join(seconds)
        code = self._process.exitcode
        self._process.kill()
        assert code is not None, f"it has not ended: {self.said}"
        return code


def _live(folder: Path, log: Path, before: str) -> None:
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.environ["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
    torch.set_num_threads(1)
    sys.argv = ["colorgan", "train", "lab"]
    exec(before, {})
    cli.main()


def make_place(
    folder: Path, tables: Path, changes: Mapping[str, Any], train: int = 20, side: int = 64
) -> Place:
    """Make a project with random arrays and tiny parameters, changed by dotted path.

    `tables` is an MLflow store without runs. 64 px is the depth at which the U-Net drops out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = {"lab.image_size": side, "train.jitter": 0.1}
    dump_params({**own, **changes}, folder)
    random_arrays(folder / "data" / "processed" / "lab", "lab", train, 5, 1, side)
    shutil.copy(tables, folder / "mlflow.db")
    return Place(folder)
