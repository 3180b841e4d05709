"""Runs in a real MLflow store, read back through MLflow's own client."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image

from colorgan.errors import ColorganError
from colorgan.tracking import lineage, mlflow_log, sending
from colorgan.tracking.run import open_recorder, record_results
from recording import DIGEST, SHA, Describe, Runs, artifacts, runs_in, train, uri_of


def test_a_training_is_recorded_whole(
    describe: Describe, runs: Runs, client: MlflowClient, capfd: pytest.CaptureFixture[str]
) -> None:
    many = {f"model.p{i}": i for i in range(230)}
    train(describe(params={"train.lr": 2e-05, "flip": True, **many}))
    assert capfd.readouterr() == ("", "")
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "workspace / train_lab"
    expected = {"train.lr": "2e-05", "flip": "True", **{k: str(v) for k, v in many.items()}}
    assert run.data.params == expected
    for name, values in {
        "train/d": [1 / i for i in range(1, 41)],
        "train/l1": [2.0] * 40,
        "epoch": [1 + i // 21 for i in range(1, 41)],
    }.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in history] == list(range(1, 41))
        assert [point.value for point in history] == values
    history = client.get_metric_history(run.info.run_id, "val/psnr")
    assert [(point.step, point.value) for point in history] == [(1, 21.0), (2, 22.0)]
    assert any(name.startswith("system/cpu") for name in run.data.metrics)


def test_tags_and_dataset_name_where_it_comes_from(
    describe: Describe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "brave-ant")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c0ffee")
    monkeypatch.setenv("DVC_STAGE", "train_lab")
    state = lineage.GitState("f00d", dirty=True, diff="-lr: 1\n+lr: 2\n")
    monkeypatch.setattr(lineage, "git_state", lambda cwd: state)
    train(describe())
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
        "colorgan.generator_sha256": SHA,
    }.items() <= run.data.tags.items()
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.digest == DIGEST[:36]
    assert entry.dataset.name == "data/processed/lab"
    assert json.loads(entry.dataset.profile)["train"] == 8
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]
    assert (artifacts(run) / "git.diff").read_text() == state.diff


def test_artifacts_lie_under_the_project_root_wherever_it_runs(
    describe: Describe, runs: Runs, project: Path, client: MlflowClient
) -> None:
    train(describe())
    (run,) = runs()
    folder = artifacts(run)
    assert folder.is_relative_to(project / "mlartifacts")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pictures = {name for name in names if name.startswith("images/")}
    assert names - pictures == {
        "environment.txt",
        "params.json",
        "model/generator.safetensors",
        "model/config.json",
    }
    steps = [re.findall(r"val~grid\+step\+(\d)\+", name) for name in pictures if ".png" in name]
    assert sorted(steps) == [["1"], ["2"]]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt"))]
    assert json.loads((folder / "params.json").read_text())["train.lr"] == 0.0002
    assert "mlflow==" in (folder / "environment.txt").read_text()
    # Nothing of MLflow's in the working directory, and pictures can be fetched as MLflow does.
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["models"]
    fetched = client.download_artifacts(
        run.info.run_id, next(n for n in pictures if n.endswith(".png"))
    )
    assert Image.open(fetched).size == (60, 20)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")]
)
def test_a_run_that_ends_early_says_how_and_keeps_its_losses(
    describe: Describe, runs: Runs, error: type[BaseException], status: str
) -> None:
    def interrupted() -> None:
        with open_recorder(describe()) as recorder:
            recorder.log_losses(1, 1, {"d": 0.5})
            raise error

    with pytest.raises(error):
        interrupted()
    (run,) = runs()
    assert run.info.status == status
    assert run.data.metrics["train/d"] == 0.5


def test_metrics_arrive_while_the_run_goes_on(
    describe: Describe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_EVERY", 0.05)
    with open_recorder(describe()) as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
        deadline = time.monotonic() + 20
        while "train/d" not in runs()[0].data.metrics and time.monotonic() < deadline:
            time.sleep(0.1)
        assert runs()[0].data.metrics["train/d"] == 0.5
        assert runs()[0].info.status == "RUNNING"


def test_a_store_that_stumbles_gets_every_point_once(
    describe: Describe,
    runs: Runs,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sending, "SEND_EVERY", 0.05)
    log_batch, calls = MlflowClient.log_batch, []

    def stumbling(self: MlflowClient, *arguments: object, **named: object) -> object:
        if "metrics" in named:
            calls.append(named)
            if len(calls) in (1, 3):
                raise MlflowException("the server stumbles")
        return log_batch(self, *arguments, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", stumbling)
    with open_recorder(describe()) as recorder:
        for iteration in range(5):
            recorder.log_losses(iteration, 1, {"d": float(iteration)})
            time.sleep(0.1)
        deadline = time.monotonic() + 20
        while len(calls) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(calls) >= 4
    (run,) = runs()
    history = client.get_metric_history(run.info.run_id, "train/d")
    assert [point.value for point in history] == [0, 1, 2, 3, 4]
    said = capsys.readouterr().err
    assert said.count("the server stumbles") == 1
    assert "training goes on" in said
    assert "did not get" not in said


def test_results_are_a_child_of_the_newest_training_of_these_weights(
    describe: Describe, runs: Runs
) -> None:
    train(describe(extra={"n": "older"}))
    train(describe(extra={"n": "newer"}))
    train(describe(extra={"n": "other weights"}), sha256="cd" * 32)
    report = Path("reports/metrics.json")
    report.parent.mkdir()
    report.write_text("{}")
    record_results("evaluate", "lab", SHA, {"psnr": 21.0, "ssim": 0.9}, [report])
    record_results("render_grids", "lab", SHA, {}, [Path("reports")])
    *trainings, evaluation, rendering = runs()
    parent = next(run for run in trainings if run.data.tags["n"] == "newer")
    for child in (evaluation, rendering):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
    assert evaluation.info.run_name == "workspace / evaluate"
    assert evaluation.data.metrics == {"psnr": 21.0, "ssim": 0.9}
    assert (artifacts(evaluation) / "metrics.json").exists()
    assert (artifacts(rendering) / "reports" / "metrics.json").exists()


def test_results_of_weights_that_nobody_trained_here_stand_alone(runs: Runs) -> None:
    record_results("evaluate", "lab", SHA, {"psnr": 21.0}, [])
    record_results("evaluate", "lab", SHA, {"psnr": 22.0}, [])
    assert ["mlflow.parentRunId" in run.data.tags for run in runs()] == [False, False]


def test_results_that_cannot_be_recorded_are_a_failed_run(runs: Runs) -> None:
    with pytest.raises(ColorganError, match=r"recording to MLflow at .* failed: .*no\.json"):
        record_results("evaluate", "lab", SHA, {}, [Path("no.json")])
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_a_deleted_experiment_is_named(runs: Runs, client: MlflowClient) -> None:
    record_results("evaluate", "lab", SHA, {}, [])
    client.delete_experiment(client.get_experiment_by_name("colorgan").experiment_id)
    with pytest.raises(ColorganError, match="is deleted: bring it back with `mlflow experiments"):
        record_results("evaluate", "lab", SHA, {}, [])


def test_a_server_that_does_not_answer_is_named_soon(
    describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(ColorganError) as caught:
        open_recorder(describe())
    assert time.monotonic() - started < 20
    said = str(caught.value)
    assert said.startswith(f"MLflow cannot record to http://***@127.0.0.1:{port}: start that serv")
    assert "secret" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("", "sqlite:///{root}/mlflow.db"),
        ("sqlite:///other.db", "sqlite:///{root}/other.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://localhost:5000", "http://localhost:5000"),
    ],
)
def test_the_store_is_the_variable_or_at_the_root(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert mlflow_log.tracking_uri() == expected.format(root=project.as_posix())


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
    # Neither a word on the terminal nor a call to the network, from any of them.
    assert [process.communicate()[0] for process in started] == [""] * 4
    assert [process.returncode for process in started] == [0] * 4
    recorded = runs_in(MlflowClient(uri_of(project / "mlflow.db")))
    assert sorted(run.data.metrics["n"] for run in recorded) == [0, 1, 2, 3]


def test_recording_a_loss_does_not_keep_the_training_waiting(
    describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"d": 0.5, "g": 0.5, "l1": 0.5}
    with open_recorder(describe()) as recorder:
        # Of this thread alone: others, and other work on the machine, may take the processor.
        started = time.thread_time()
        for iteration in range(2000):
            recorder.log_losses(iteration, 1, losses)
        each = (time.thread_time() - started) / 2000
    # 0.2 ms measured; a synchronous call takes some 10 ms.
    assert each < 0.002
