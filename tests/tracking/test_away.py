"""A store that is away, locked or dead, and a process that is killed: MLflow gets the rest later.

Each time it has one run in the end, with each point and each picture once.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from recorded import (
    ITERATIONS,
    SHA256_TAG,
    Describe,
    Runs,
    Training,
    artifacts,
    assert_whole,
    record,
    runs_in,
    steps,
    unsent,
)

from colorgan.tracking import mlflow_log
from colorgan.tracking.run import RunDescription, record_results, send_unsent
from colorgan.tracking.store import sqlite_uri
from servers import wait_for

# The port is that of a service which no machine has any more.
NOBODY = "http://me:secret@127.0.0.1:9"


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a context in which the store of the project is away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    @contextmanager
    def away() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", NOBODY)
            yield

    return away


# ---- away


def test_a_store_that_is_away_costs_a_sentence_and_gets_the_run_by_the_command(
    describe, runs, client, project, away, capsys, colorgan
) -> None:
    assert colorgan("sync").out == "MLflow has all runs already\n"
    with away():
        training = describe()
        sha256 = training.record()
        record_results("evaluate", "lab", sha256, {"psnr": 21.0}, [])
        said = capsys.readouterr().err.splitlines()
        in_vain = colorgan("sync")
    assert in_vain.code == 1
    assert ": what it does not have of run 'workspace / train_lab' is" in in_vain.err
    start = "MLflow at http://***@127.0.0.1:9 cannot be used: "
    assert all(line.startswith(start) and "secret" not in line for line in said)
    assert said[-1].endswith("and the next training or `python -m colorgan sync` sends it")
    folder = project / ".resume" / "unsent" / f"train_lab-{training.run.token}"
    assert json.loads((folder / "run.json").read_text())["name"] == "workspace / train_lab"
    for name in ("losses.csv", "validation.csv"):
        assert (folder / name).read_bytes() == (training.folder / name).read_bytes()
    assert len(list((folder / "images").glob("*.png"))) == 4

    before = time.time() * 1000
    assert colorgan("sync").out.splitlines() == [
        "MLflow has got what it had missed of run 'workspace / train_lab'",
        "MLflow has got what it had missed of run 'workspace / evaluate'",
    ]
    run, results = runs()
    assert run.info.status == results.info.status == "FINISHED"
    assert run.info.start_time <= run.info.end_time < before
    assert_whole(client, run)
    assert run.data.tags[SHA256_TAG] == sha256
    assert (artifacts(run) / "model" / "generator.safetensors").is_file()
    assert results.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert unsent(project) == []
    assert colorgan("sync").out == "MLflow has all runs already\n"


def test_an_answer_that_is_lost_makes_no_point_twice(
    describe, runs, client, monkeypatch, capsys
) -> None:
    """The store has taken the points, and the sender does not know."""
    log_batch, calls = MlflowClient.log_batch, []

    def unheard(self: MlflowClient, *arguments: Any, **named: Any) -> None:
        log_batch(self, *arguments, **named)
        calls.append(named)
        if "metrics" in named and len(calls) % 3 == 0:
            raise ConnectionError("timed out")

    monkeypatch.setattr(MlflowClient, "log_batch", unheard)
    with describe().open() as recorder:
        for iteration in range(1, ITERATIONS + 1):
            record(recorder, iteration)
            if iteration in (10, 20):  # the answer to the third is lost
                wait_for(lambda n=2 + iteration // 10: len(calls) >= n)
    said = capsys.readouterr().err
    assert said.count(": training goes on, and what could not be sent is sent later\n") == 1
    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    send_unsent().join()
    (run,) = runs()
    assert_whole(client, run)


def test_a_locked_store_does_not_slow_a_training(
    describe, store, project, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(mlflow_log, "PATIENCE", 0.3)
    other = sqlite3.connect(store)
    other.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    describe().record()
    # To wait for the lock would take for ever.
    assert time.monotonic() - started < 30
    assert "does not answer: what it does not have of run" in capsys.readouterr().err
    other.rollback()
    other.close()
    # The thread that was not waited for gets its turn, or what it leaves is sent.
    monkeypatch.setattr(mlflow_log, "PATIENCE", 25.0)
    wait_for(lambda: send_unsent().join() or not unsent(project))
    client = MlflowClient(sqlite_uri(store))
    (run,) = runs_in(client)
    assert_whole(client, run)


def test_a_server_that_accepts_and_never_answers_is_not_waited_for(
    describe, project, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(mlflow_log, "PATIENCE", 0.3)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        describe().record()
        sending = send_unsent()
        assert time.monotonic() - started < 30
        sending.join()
    assert "MLflow does not answer" in capsys.readouterr().err
    assert len(unsent(project)) == 1


def test_a_run_that_is_being_recorded_is_left_alone(describe, runs, client, project) -> None:
    with describe().open() as recorder:
        record(recorder, 1)
        send_unsent().join()
        assert len(unsent(project)) == 1
        for iteration in range(2, ITERATIONS + 1):
            record(recorder, iteration)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert_whole(client, run)


def test_weights_that_are_gone_are_named_by_their_digest(describe, runs, away, capsys) -> None:
    training = describe()
    with away():
        sha256 = training.record()
    (training.folder / "finished" / "generator.safetensors").write_bytes(b"of another training")
    send_unsent().join()
    assert "are not in" in capsys.readouterr().err
    (recorded,) = runs()
    assert recorded.data.tags[SHA256_TAG] == sha256
    assert not (artifacts(recorded) / "model").exists()


def test_a_description_that_cannot_be_read_is_named_and_the_other_runs_are_sent(
    describe, runs, away, project, colorgan
) -> None:
    with away():
        damaged, whole = describe(), describe()
        damaged.record()
        whole.record()
    folder = project / ".resume" / "unsent" / f"train_lab-{damaged.run.token}"
    description = (folder / "run.json").read_text()
    (folder / "run.json").write_text(description[:-9])
    said = colorgan("sync")
    assert (said.code, len(runs())) == (1, 1)
    assert said.err == (
        f"colorgan: {folder}/run.json cannot be read, so its run is not sent to MLflow: put a "
        "whole copy of it back, or delete the folder\n"
    )
    (folder / "run.json").write_text(description)
    assert colorgan("sync").code == 0
    assert len(runs()) == 2


# ---- killed


def killed_at(place: Callable[[pytest.MonkeyPatch], None], training: Training) -> None:
    """Train in a process that `place` prepares to kill itself."""
    pid = os.fork()
    if pid == 0:
        with pytest.MonkeyPatch.context() as monkeypatch:
            place(monkeypatch)
            training.record(pace=0.01)
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at(owner: Any, name: str, call: int = 1, *, after: bool = False) -> Any:
    """Return a place: before or after a call of a method, the first or a later one."""

    def prepare(monkeypatch: pytest.MonkeyPatch) -> None:
        method, calls = getattr(owner, name), []

        def counted(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) < call:
                return method(*arguments, **named)
            if after:
                method(*arguments, **named)
            return kill()

        monkeypatch.setattr(owner, name, counted)

    return prepare


PLACES = {
    "the run is begun": at(MlflowClient, "create_run", after=True),
    "its description is half sent": at(MlflowClient, "log_inputs"),
    "between a picture and its thumbnail": at(MlflowClient, "_log_artifact_helper", 2),
    "before the weights": at(MlflowClient, "log_artifacts", 2),
    "the end is noted in run.json": at(RunDescription, "end", after=True),
    "the folder is to be removed": at(shutil, "rmtree"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_training_is_one_run_whether_it_is_resumed_or_not(
    describe: Describe, store: Path, project: Path, place: str
) -> None:
    training = describe()
    killed_at(PLACES[place], training)
    client = MlflowClient(sqlite_uri(store))
    (left,) = unsent(project)
    assert left == f"train_lab-{training.run.token}"

    # Nobody goes on with it yet: the next start sends what there is.
    folder = project / ".resume/unsent" / left
    rows = len((folder / "losses.csv").read_text().splitlines()) - 1
    status = json.loads((folder / "run.json").read_text())["status"]
    send_unsent().join()
    (recorded,) = runs_in(client)
    assert recorded.info.status == (status or "KILLED")
    assert recorded.data.params == {"train.lr": "0.0002"}
    assert steps(client, recorded, "train/d") == list(range(1, rows + 1))
    assert unsent(project) == []

    # It is resumed from a checkpoint before what MLflow has already.
    changed = replace(training.run, params={"train.lr": 3})
    replace(training, run=changed, iteration=5).record()
    (resumed,) = runs_in(client)
    assert resumed.info.run_id == recorded.info.run_id
    assert resumed.info.status == "FINISHED"
    assert resumed.data.tags["resumed.from"] == "5"
    assert resumed.data.params == recorded.data.params, "the first description stays"
    assert len(resumed.inputs.dataset_inputs) == 1
    assert_whole(client, resumed)
    lines = (training.folder / "losses.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(1, ITERATIONS + 1))
    assert unsent(project) == []


def test_another_training_is_another_run_and_a_deleted_run_does_not_count(
    describe: Describe, runs: Runs, client: MlflowClient
) -> None:
    first = describe()
    for training in (first, describe()):
        training.record()
    assert len(runs()) == 2
    for recorded in runs():
        client.delete_run(recorded.info.run_id)
    replace(first, iteration=10, epoch=1).record()
    (run,) = runs()
    assert steps(client, run, "train/d") == list(range(1, ITERATIONS + 1))
