"""A project in a temporary folder with an MLflow store of its own, and a short training."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from recorded import DIGEST, Describe, Runs, Training, runs_in

from colorgan.tracking import mlflow_log
from colorgan.tracking.run import RunDescription
from colorgan.tracking.store import sqlite_uri


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of a project, with a space in its path; the working directory is elsewhere."""
    root, copy = tmp_path / "my project", tmp_path / "copy of dvc"
    root.mkdir()
    copy.mkdir()
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    # The checkout around the temporary folder, should there be one, is not the project's.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(copy)
    monkeypatch.setattr(mlflow_log, "SEND_EVERY", 0.02)
    yield root
    # A thread that a test did not wait for would go on in the next test's project.
    for thread in threading.enumerate():
        if thread.name == "colorgan-sender":
            thread.join(30)


@pytest.fixture
def describe(tmp_path: Path) -> Describe:
    """Return a function that describes a training of `lab`, each time another one."""

    def make(params: dict[str, Any] | None = None, **tags: str) -> Training:
        dataset = {"name": "data/processed/lab", "digest": DIGEST, "profile": {"train": 8}}
        run = RunDescription(
            "train_lab", uuid.uuid4().hex, params or {"train.lr": 0.0002},
            {"space": "lab", "data.digest": DIGEST, **tags}, dataset,
        )  # fmt: skip
        folder = tmp_path / "resume" / run.token
        folder.mkdir(parents=True)
        return Training(run, folder)

    return make


@pytest.fixture
def store(project: Path, tables: Path) -> Path:
    """The SQLite file of the project, which has its tables."""
    return Path(shutil.copy(tables, project / "mlflow.db"))


@pytest.fixture
def client(store: Path) -> MlflowClient:
    """MLflow's own client on the store of the project."""
    return MlflowClient(sqlite_uri(store))


@pytest.fixture
def runs(client: MlflowClient) -> Runs:
    """All runs of the experiment, the oldest first."""
    return lambda: runs_in(client)
