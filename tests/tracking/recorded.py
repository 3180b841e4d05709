"""A short training, and what a store has of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from colorgan import io
from colorgan.tracking.run import Recorder, RunDescription, open_recorder

Describe = Callable[..., RunDescription]
Runs = Callable[[], list[Run]]

DIGEST = "0123456789abcdef" * 4
ITERATIONS, EPOCHS = 40, 4
SHA256_TAG = "colorgan.generator_sha256"


def train(run: RunDescription, content: bytes = b"weights", pace: float = 0) -> str:
    """Record a short training from its start or checkpoint on; return the SHA-256 of its weights.

    An epoch has 10 iterations, an iteration takes `pace` seconds.
    """
    model = run.folder / "finished"
    model.mkdir(exist_ok=True)
    (model / "generator.safetensors").write_bytes(content)
    (model / "config.json").write_text("{}")
    sha256 = io.sha256(model / "generator.safetensors")
    with open_recorder(run) as recorder:
        for iteration in range(run.iteration + 1, ITERATIONS + 1):
            record(recorder, iteration)
            time.sleep(pace)
        recorder.log_model(model, sha256)
    return sha256


def record(recorder: Recorder, iteration: int) -> None:
    """Record an iteration, and its epoch if it is the last of one."""
    recorder.log_losses(iteration, (iteration + 9) // 10, {"d": 1 / iteration, "l1": 2.0})
    if iteration % 10 == 0:
        recorder.log_validation(iteration // 10, {"psnr": 20.0 + iteration})
        picture = Image.new("RGB", (300, 100), (iteration, 0, 0))
        recorder.log_picture(picture, "val/grid", iteration // 10)


def assert_whole(client: MlflowClient, run: Run, iterations: int = ITERATIONS) -> None:
    """Each point and each picture of the training is there once, up to an iteration."""
    epochs = iterations // 10
    for name, points in {
        "train/d": [(i, float(f"{1 / i:.6g}")) for i in range(1, iterations + 1)],
        "train/l1": [(i, 2.0) for i in range(1, iterations + 1)],
        "epoch": [(i, (i + 9) // 10) for i in range(1, iterations + 1)],
        "val/psnr": [(epoch, 20.0 + 10 * epoch) for epoch in range(1, epochs + 1)],
    }.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((point.step, point.value) for point in history) == points, name
    assert pictures(run) == {epoch: [".png", ".webp"] for epoch in range(1, epochs + 1)}


def pictures(run: Run) -> dict[int, list[str]]:
    """The kinds of files of the stepped pictures of a run, by step."""
    found: dict[int, list[str]] = {}
    # A kill leaves the hidden file that MLflow writes before it renames it.
    for file in (artifacts(run) / "images").glob("[!.]*"):
        found.setdefault(int(file.name.split("+")[2]), []).append(file.suffix)
        with Image.open(file) as image:
            assert image.size[0] > 200
    return {step: sorted(kinds) for step, kinds in sorted(found.items())}


def artifacts(run: Run) -> Path:
    """The folder of the artifacts of a run."""
    return Path(url2pathname(urlsplit(run.info.artifact_uri).path))


def runs_in(client: MlflowClient) -> list[Run]:
    """All runs of the experiment, the oldest first."""
    experiment = client.get_experiment_by_name("colorgan")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def unsent(project: Path) -> list[str]:
    """What waits in `.resume/unsent`."""
    return sorted(path.name for path in (project / ".resume" / "unsent").glob("*"))
