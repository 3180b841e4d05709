"""A short training, and what a store has of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from PIL import Image

from colorgan.tracking import mlflow_log
from colorgan.tracking.run import RunDescription, open_recorder

# From the sink, which turns MLflow's telemetry off before it imports it.
MlflowClient = mlflow_log.MlflowClient
Run = mlflow_log.Run

Describe = Callable[..., RunDescription]
Runs = Callable[[], list[Run]]

DIGEST = "0123456789abcdef" * 4
SHA = "ab" * 32


def train(run: RunDescription, sha256: str = SHA) -> None:
    """Record a short training, as the loop does."""
    model = weights()
    with open_recorder(run) as recorder:
        for iteration in range(1, 41):
            recorder.log_losses(iteration, 1 + iteration // 21, {"d": 1 / iteration, "l1": 2.0})
        for epoch in (1, 2):
            recorder.log_validation(epoch, {"psnr": 20.0 + epoch})
            recorder.log_picture(Image.new("RGB", (60, 20), (epoch, 0, 0)), "val/grid", epoch)
        recorder.log_model(model, sha256)


def weights() -> Path:
    """A folder that looks like that of a trained model."""
    folder = Path("models/lab")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generator.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


class Server:
    """Lets MLflow's client fail while it is gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone = False
        for name in ("log_batch", "log_artifact", "log_artifacts", "set_tag", "set_terminated"):
            method = getattr(MlflowClient, name)

            def called(*arguments: object, method: object = method, **named: object) -> object:
                if self.gone:
                    raise ConnectionError("gone")
                return method(*arguments, **named)  # type: ignore[operator]

            monkeypatch.setattr(MlflowClient, name, called)


def artifacts(run: Run) -> Path:
    """The folder of a run's artifacts."""
    return Path(url2pathname(urlsplit(run.info.artifact_uri).path))


def uri_of(path: Path) -> str:
    return f"sqlite:///{path.as_posix()}"


def runs_in(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("colorgan")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))
