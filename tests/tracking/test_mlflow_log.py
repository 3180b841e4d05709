"""Runs in a real MLflow store, read back through MLflow's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image
from recorded import (
    DIGEST,
    SHA256_TAG,
    Describe,
    Runs,
    artifacts,
    assert_whole,
    runs_in,
    unsent,
)

from colorgan.tracking import lineage
from colorgan.tracking.mlflow_read import TrainingRuns
from colorgan.tracking.run import record_finished, record_results, send_unsent
from colorgan.tracking.store import sqlite_uri
from servers import wait_for

SHA = "ab" * 32


def test_a_training_is_recorded_whole(describe, runs, client, project, capfd) -> None:
    many = {f"model.p{i}": i for i in range(230)}
    describe({"train.lr": 2e-05, "flip": True, **many}).record()
    assert capfd.readouterr() == ("", "")
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "workspace / train_lab"
    expected = {"train.lr": "2e-05", "flip": "True", **{k: str(v) for k, v in many.items()}}
    assert run.data.params == expected
    assert_whole(client, run)
    assert unsent(project) == []
    folder = artifacts(run)
    assert folder.is_relative_to(project / "mlartifacts")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    images = {name for name in names if name.startswith("images/")}
    weights = {"model/generator.safetensors", "model/config.json"}
    assert names - images == {"environment.txt", "params.json", *weights}
    assert json.loads((folder / "params.json").read_text())["train.lr"] == 2e-05
    assert "mlflow==" in (folder / "environment.txt").read_text()
    assert list(Path.cwd().iterdir()) == [], "nothing of MLflow's in the working directory"
    # Images can be fetched as the UI does.
    fetched = client.download_artifacts(run.info.run_id, min(images))
    assert Image.open(fetched).size[0] > 200


def test_tags_and_dataset_name_where_it_comes_from(describe, runs, monkeypatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "brave-ant")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c0ffee")
    monkeypatch.setenv("DVC_STAGE", "train_lab")
    monkeypatch.setattr(lineage, "git_state", lambda cwd: ("f00d", "-lr: 1\n+lr: 2\n"))
    sha256 = describe(device="cpu").record()
    (run,) = runs()
    assert run.info.run_name == "brave-ant / train_lab"
    assert {
        "stage": "train_lab",
        "space": "lab",
        "device": "cpu",
        "data.digest": DIGEST,
        "git.dirty": "true",
        "mlflow.source.git.commit": "f00d",
        "dvc.experiment": "brave-ant",
        "dvc.baseline": "c0ffee",
        "dvc.stage": "train_lab",
        SHA256_TAG: sha256,
    }.items() <= run.data.tags.items()
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.digest == DIGEST[:36]
    assert entry.dataset.name == "data/processed/lab"
    assert json.loads(entry.dataset.profile)["train"] == 8
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]
    assert (artifacts(run) / "git.diff").read_text() == "-lr: 1\n+lr: 2\n"


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")]
)
def test_a_run_that_ends_early_says_how_and_keeps_its_losses(describe, runs, error, status) -> None:
    with suppress(error), describe().open() as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
        raise error
    (run,) = runs()
    assert run.info.status == status
    assert run.data.metrics["train/d"] == 0.5


def test_metrics_and_the_use_of_the_machine_arrive_while_the_run_goes_on(
    describe: Describe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    expected = {"train/d", "system/cpu_utilization_percentage"}
    with describe().open() as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
        wait_for(lambda: runs() and expected <= runs()[0].data.metrics.keys(), pause=0.1)
        assert runs()[0].info.status == "RUNNING"


def test_results_are_a_child_of_the_newest_training_of_these_weights(
    describe: Describe, runs: Runs, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    describe(n="older").record()
    sha256 = describe(n="newer").record()
    describe(n="other weights").record(b"others")
    report = Path("reports/metrics.json")
    report.parent.mkdir()
    report.write_text("{}")
    record_results("evaluate", "lab", sha256, {"psnr": 21.0, "ssim": 0.9}, [report])
    record_results("render_grids", "lab", sha256, {}, [report])
    record_results("evaluate", "lab", "weights that nobody trained here", {}, [])
    *trainings, evaluation, rendering, alone = runs()
    parent = next(run for run in trainings if run.data.tags["n"] == "newer")
    for child in (evaluation, rendering):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
    assert evaluation.info.run_name == "workspace / evaluate"
    assert evaluation.data.metrics == {"psnr": 21.0, "ssim": 0.9}
    assert (artifacts(evaluation) / "metrics.json").exists()
    assert (artifacts(rendering) / "metrics.json").exists()
    assert "mlflow.parentRunId" not in alone.data.tags
    assert unsent(project) == []
    assert capfd.readouterr() == ("", "")


def test_a_finished_training_that_mlflow_does_not_have_is_recorded_anew(
    describe: Describe, runs: Runs, client: MlflowClient, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its run was deleted in the UI, or the store is a new one."""
    training = describe()

    def again() -> None:
        run = replace(training.run)
        record_finished(run, training.folder, training.folder / "finished", sha256)

    sha256 = training.record()
    (first,) = runs()
    again()
    (same,) = runs()
    assert same.to_dictionary() == first.to_dictionary()
    client.delete_run(first.info.run_id)
    again()
    (anew,) = runs()
    assert anew.info.run_id != first.info.run_id
    assert anew.info.status == "FINISHED"
    assert anew.data.params == first.data.params
    assert anew.data.metrics == first.data.metrics
    assert TrainingRuns().made("train_lab", sha256)
    assert (artifacts(anew) / "model" / "generator.safetensors").is_file()
    assert capfd.readouterr() == ("", "")


def test_an_experiment_of_another_name(describe, client, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of a sweep")
    sha256 = describe().record()
    assert client.get_experiment_by_name("of a sweep") is not None
    assert client.get_experiment_by_name("colorgan") is None
    assert TrainingRuns().made("train_lab", sha256)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    assert TrainingRuns().made("train_lab", sha256) is None


RECORD = """
import socket, sys
def no_network(host, *arguments, **named):
    print("looks for", host)
    raise OSError("no network")
socket.getaddrinfo = no_network
from colorgan.tracking.run import record_results
record_results("evaluate", "lab", "00", {"n": float(sys.argv[1])}, [])
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
"""


@pytest.mark.slow
def test_four_processes_may_meet_an_empty_store(project: Path) -> None:
    assert not (project / "mlflow.db").exists()
    # pytest's own variable would turn the telemetry off, and so hide it.
    silent = ("PYTEST_CURRENT_TEST", "CI", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    env = {name: value for name, value in os.environ.items() if name not in silent}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RECORD, str(n)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for n in range(4)
    ]
    said = [process.communicate()[0] for process in started]
    # No call to the network, and no word of MLflow's; what one process did not wait for, another or
    # the next one sends, and says so.
    ours = ("what it does not have of run", "MLflow has got what it had missed of run")
    assert [s for s in "".join(said).splitlines() if not any(our in s for our in ours)] == []
    assert [process.returncode for process in started] == [0] * 4
    send_unsent().join()
    recorded = runs_in(MlflowClient(sqlite_uri(project / "mlflow.db")))
    assert sorted(run.data.metrics["n"] for run in recorded) == [0, 1, 2, 3]
    assert unsent(project) == []
