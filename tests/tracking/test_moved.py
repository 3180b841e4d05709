"""A project that was moved or copied keeps its runs, and writes nowhere else."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from recorded import Describe

from colorgan.tracking.mlflow_read import TrainingRuns
from colorgan.tracking.run import record_results
from colorgan.tracking.store import prepare_file, sqlite_uri, tracking_uri

ODD = "größe #2? 100%25 of 'it'"
MODEL = "model/generator.safetensors"


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "lock" not in path.name]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def paths_in(file: Path) -> str:
    with closing(sqlite3.connect(file)) as store:
        return "\n".join(store.iterdump())


@pytest.fixture
def trained(describe: Describe, client: MlflowClient, project: Path) -> str:
    """The SHA-256 of a training of the project, whose model is registered."""
    sha256 = describe().record()
    (run,) = client.search_runs([client.get_experiment_by_name("colorgan").experiment_id])
    client.create_registered_model("colorgan-lab")
    client.create_model_version("colorgan-lab", f"{run.info.artifact_uri}/model", run.info.run_id)
    client.create_logged_model(run.info.experiment_id)
    assert paths_in(project / "mlflow.db").count(project.as_uri()) >= 4
    return sha256


@pytest.mark.parametrize("name", ["copy", ODD])
@pytest.mark.parametrize("how", ["moved", "copied"])
def test_runs_and_new_runs_lie_in_the_project(
    trained, project, tmp_path, monkeypatch, capfd, how, name
) -> None:
    there = tmp_path / "elsewhere" / name
    there.parent.mkdir()
    (shutil.copytree if how == "copied" else shutil.move)(project, there)
    before = digests(project)
    monkeypatch.setenv("DVC_ROOT", str(there))

    recorded = paths_in(there / "mlflow.db")
    runs = TrainingRuns()
    run = runs.made("train_lab", trained)
    assert run is not None
    assert paths_in(there / "mlflow.db.before-move") == recorded
    assert runs.artifact(run, MODEL, tmp_path / "brought") is not None
    record_results("evaluate", "lab", trained, {"n": 1.0}, [])
    assert len(list(there.glob("mlartifacts/*/artifacts/environment.txt"))) == 2
    (version,) = MlflowClient(tracking_uri()).search_model_versions("name = 'colorgan-lab'")
    assert version.source.startswith(f"{there.as_uri()}/")

    assert digests(project) == before, "nothing is written into the original"
    assert project.exists() == (how == "copied")
    now = paths_in(there / "mlflow.db")
    assert project.as_uri() not in now
    assert str(project) not in now
    assert capfd.readouterr() == ("", "")


def test_what_waits_is_sent_with_its_weights_after_a_move(
    describe: Describe, store: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = describe()
    folder = project / ".resume" / "train_lab" / "0"
    shutil.move(training.folder, folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/no.db")
    sha256 = type(training)(training.run, folder).record()
    there = Path(shutil.move(project, tmp_path / "moved"))
    monkeypatch.setenv("DVC_ROOT", str(there))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    record_results("evaluate", "lab", sha256, {}, [])
    run = TrainingRuns().made("train_lab", sha256)
    assert run is not None
    assert TrainingRuns().artifact(run, MODEL, tmp_path / "brought") is not None


def test_what_is_not_this_projects_own_stays(trained, project, tmp_path, monkeypatch) -> None:
    """A linked project, a store that two projects share, and a folder that the user has chosen."""
    file = project / "mlflow.db"
    before = paths_in(file)
    link = tmp_path / "link"
    link.symlink_to(project)
    monkeypatch.setenv("DVC_ROOT", str(link))
    prepare_file(tracking_uri())
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "copy of dvc"))
    prepare_file(sqlite_uri(file))
    assert paths_in(file) == before
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("UPDATE experiments SET artifact_location = 'file:///large/disk'")
    before = paths_in(file)
    monkeypatch.setenv("DVC_ROOT", str(project))
    prepare_file(tracking_uri())
    assert paths_in(file) == before
