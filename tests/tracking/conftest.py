"""A project in a temporary folder, with a store of its own."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from colorgan.data.arrays import DatasetInfo
from colorgan.tracking import sending
from colorgan.tracking.run import RunDescription
from recording import DIGEST, Describe, MlflowClient, Runs, Server, runs_in, uri_of


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project, with a space in its path; the working directory is elsewhere."""
    root = tmp_path / "my project"
    copy = tmp_path / "copy of dvc"
    root.mkdir()
    copy.mkdir()
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    # The checkout around the temporary folder, should there be one, is not the project's.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(copy)
    return root


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Make a description of a training run of `lab`, each of another training."""

    def make(**changes: object) -> RunDescription:
        dataset = DatasetInfo("lab", 64, 2, {"train": 8, "val": 2, "test": 2}, 1, DIGEST)
        token = uuid.uuid4().hex
        folder = tmp_path / "resume" / token
        folder.mkdir(parents=True)
        run = RunDescription(
            "train_lab", "lab", {"train.lr": 0.0002}, dataset, {"device": "cpu"},
            folder=folder, token=token,
        )  # fmt: skip
        return replace(run, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables and no run, made once: it takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(uri_of(path)).search_experiments()
    return path


@pytest.fixture
def client(project: Path, tables: Path) -> MlflowClient:
    """MLflow's own client on the project's store, which has its tables."""
    shutil.copy(tables, project / "mlflow.db")
    return MlflowClient(uri_of(project / "mlflow.db"))


@pytest.fixture
def runs(client: MlflowClient) -> Runs:
    """All runs of the experiment, the oldest first."""

    return lambda: runs_in(client)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """The store as something that can be gone; it is sent to all the time."""
    monkeypatch.setattr(sending, "SEND_EVERY", 0.05)
    return Server(monkeypatch)
