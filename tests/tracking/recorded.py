"""A short training, and what a store has of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from colorgan import io
from colorgan.tracking.run import Recorder, RunDescription, open_recorder

DIGEST = "0123456789abcdef" * 4
ITERATIONS, EPOCHS = 40, 4
SHA256_TAG = "colorgan.generator_sha256"


@dataclass(frozen=True)
class Training:
    """A training of 4 epochs and 40 iterations; begins after `iteration` and `epoch`."""

    run: RunDescription
    folder: Path
    iteration: int = 0
    epoch: int = 0

    def open(self) -> Recorder:
        """Return its recorder."""
        return open_recorder(copy.deepcopy(self.run), self.folder, self.iteration, self.epoch)

    def record(self, content: bytes = b"weights", pace: float = 0) -> str:
        """Record it to its end; return the SHA-256 of its weights.

        An iteration takes `pace` seconds.
        """
        model = self.folder / "finished"
        model.mkdir(exist_ok=True)
        (model / "generator.safetensors").write_bytes(content)
        (model / "config.json").write_text("{}")
        sha256 = io.sha256(model / "generator.safetensors")
        with self.open() as recorder:
            for iteration in range(self.iteration + 1, ITERATIONS + 1):
                record(recorder, iteration)
                time.sleep(pace)
            recorder.log_model(model, sha256)
        return sha256


Describe = Callable[..., Training]
Runs = Callable[[], list[Run]]


def record(recorder: Recorder, iteration: int) -> None:
    """Record an iteration, and its epoch if it is the last of one."""
    recorder.log_losses(iteration, (iteration + 9) // 10, {"d": 1 / iteration, "l1": 2.0})
    if iteration % 10 == 0:
        recorder.log_validation(iteration // 10, {"psnr": 20.0 + iteration})
        picture = Image.new("RGB", (300, 100), (iteration, 0, 0))
        recorder.log_picture(picture, "val/grid", iteration // 10)


def assert_whole(client: MlflowClient, run: Run) -> None:
    """Each point and each picture of the training is there once."""
    for name, points in {
        "train/d": [(i, float(f"{1 / i:.6g}")) for i in range(1, ITERATIONS + 1)],
        "train/l1": [(i, 2.0) for i in range(1, ITERATIONS + 1)],
        "epoch": [(i, (i + 9) // 10) for i in range(1, ITERATIONS + 1)],
        "val/psnr": [(epoch, 20.0 + 10 * epoch) for epoch in range(1, EPOCHS + 1)],
    }.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((point.step, point.value) for point in history) == points, name
    # A kill leaves the hidden file that MLflow writes before it renames it.
    images = [path.name for path in (artifacts(run) / "images").glob("[!.]*")]
    steps = sorted((int(name.split("+")[2]), Path(name).suffix) for name in images)
    assert steps == [(e, kind) for e in range(1, EPOCHS + 1) for kind in (".png", ".webp")]


def artifacts(run: Run) -> Path:
    """The folder of the artifacts of a run."""
    return Path(url2pathname(urlsplit(run.info.artifact_uri).path))


def runs_in(client: MlflowClient) -> list[Run]:
    """All runs of the experiment, the oldest first."""
    experiment = client.get_experiment_by_name("colorgan")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def steps(client: MlflowClient, run: Run, metric: str) -> list[int]:
    """The steps of a metric, sorted."""
    return sorted(point.step for point in client.get_metric_history(run.info.run_id, metric))


def unsent(project: Path) -> list[str]:
    """What waits in `.resume/unsent`."""
    return sorted(path.name for path in (project / ".resume" / "unsent").glob("*"))
