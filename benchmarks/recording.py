"""What recording and checkpoints cost: the same training with and without, in turn, in one run.

    python benchmarks/recording.py            # needs data/processed/lab: `dvc repro preprocess`

The claim: recording (MLflow and CSV) and checkpoints together take under 2% of training time. Two
figures stand for it. `in_calls` is the share of the training thread's time that passes inside the
recorder and inside checkpoints; `whole` is the ratio of whole trainings with and without them,
which also holds what background threads take from the cores (and the noise of the machine: read it
as a median of pairs, beside the spread of like with like).
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from colorgan import io, paths, presets
from colorgan.config import SpaceParams, check_params, flat, load_params
from colorgan.data.arrays import open_split, read_info
from colorgan.data.loader import Batches
from colorgan.runs.checkpoint import Checkpoints, Position
from colorgan.runs.progress import TrainingProgress
from colorgan.runs.runtime import Runtime, device_name
from colorgan.runs.stopping import StopSignal
from colorgan.spaces import get_space
from colorgan.tracking.run import Recorder, RunDescription, open_recorder
from colorgan.training.build import build_step
from colorgan.training.trainer import Trainer
from colorgan.training.validate import Validator

SPACE = "lab"


class Timed:
    """A recorder, or what writes checkpoints, that adds up the time spent inside it."""

    def __init__(self, timed: Recorder | Checkpoints) -> None:
        self._timed = timed
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._timed, name)

        def timed(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = method(*args, **options)
            self.seconds += time.perf_counter() - start
            return result

        return timed


def train_once(
    own: SpaceParams, folder: Path, minutes: float, *, record: bool
) -> tuple[float, float, float]:
    """Train; return the seconds it took, those inside the recorder and inside checkpoints."""
    space, info = get_space(SPACE), read_info(folder)
    params = load_params()
    runtime = Runtime.decide(own.train, params.runtime)
    runtime = replace(runtime, compile="off")
    batches = Batches(open_split(folder, "train"), own.train.batch_size, 1)
    step = build_step(space, own, info.image_size, runtime)
    place = Path(tempfile.mkdtemp(dir=Path.cwd()))
    run = RunDescription("train_lab", uuid4().hex, flat(own), runtime.tags())
    start = time.perf_counter()
    with open_recorder(run, place) if record else Recorder() as recorder:
        opened = time.perf_counter() - start
        timed = Timed(recorder)
        checkpoints = Timed(Checkpoints(place / "checkpoint.safetensors", "", minutes))
        trainer = Trainer(
            space,
            own.train,
            params.logging,
            runtime,
            step,
            batches,
            Validator(open_split(folder, "val"), own.train.batch_size, frechet=False),
            info.image_size,
            timed,  # type: ignore[arg-type]
            TrainingProgress("none", "", own.train.epochs * len(batches), own.train.epochs, 1),
            Position(),
            StopSignal(),
            checkpoints if record else None,  # type: ignore[arg-type]
        )
        trainer.fit()
        closing = time.perf_counter()
    end = time.perf_counter()
    return end - start, timed.seconds + opened + end - closing, checkpoints.seconds


def main(
    pairs: Annotated[int, typer.Option(help="Pairs of trainings, with and without")] = 5,
    epochs: Annotated[int, typer.Option(help="Epochs of each")] = 10,
    minutes: Annotated[float, typer.Option(help="Minutes between two checkpoints")] = 0.25,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "recording.json"
    ),
) -> None:
    """Measure and print the cost of recording."""
    base = check_params(presets.content("scratch")).space(SPACE)
    train = base.train.model_copy(update={"epochs": epochs, "decay_start": 1.0})
    own = base.model_copy(update={"train": train})
    folder = paths.processed(SPACE).resolve()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        # A store of its own: a benchmark is no run that anyone wants to compare.
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        os.environ["DVC_ROOT"] = scratch
        os.chdir(_with_params(Path(scratch)))
        train_once(own, folder, minutes, record=True)
        for i in range(pairs):
            # In turn first and second, so that a machine that slows down favours neither.
            first = train_once(own, folder, minutes, record=i % 2 == 0)
            second = train_once(own, folder, minutes, record=i % 2 == 1)
            recorded, bare = (first, second) if i % 2 == 0 else (second, first)
            rows.append((recorded[0], bare[0], recorded[1], recorded[2]))
        os.chdir(_HERE)
    result = {
        "device": device_name(Runtime.decide(train, load_params().runtime).device),
        "pairs": pairs,
        "epochs": epochs,
        "minutes_between_checkpoints": minutes,
        "seconds_recorded": statistics.median(r for r, _, _, _ in rows),
        "seconds_bare": statistics.median(b for _, b, _, _ in rows),
        "whole": statistics.median(r / b - 1 for r, b, _, _ in rows),
        "in_recorder": statistics.median(c / r for r, _, c, _ in rows),
        "in_checkpoints": statistics.median(k / r for r, _, _, k in rows),
        "in_calls": statistics.median((c + k) / r for r, _, c, k in rows),
    }
    io.write_json(out, result)
    _print(result)


_HERE = Path.cwd()


def _with_params(folder: Path) -> Path:
    (folder / "params.yaml").write_bytes(paths.PARAMS.read_bytes())
    return folder


def _print(result: dict[str, Any]) -> None:
    table = Table("", "median", title=f"Cost of recording and checkpoints, {result['device']}")
    table.add_row("training with both", f"{result['seconds_recorded']:.1f} s")
    table.add_row("training without", f"{result['seconds_bare']:.1f} s")
    table.add_row("time inside the recorder", f"{result['in_recorder']:.2%}")
    table.add_row("time inside checkpoints", f"{result['in_checkpoints']:.2%}")
    table.add_row("both", f"{result['in_calls']:.2%}")
    table.add_row("whole run, with / without - 1", f"{result['whole']:+.2%}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
