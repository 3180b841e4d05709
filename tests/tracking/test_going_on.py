"""A training that was stopped goes on with the same run: each point, picture and model once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from colorgan.tracking import sending
from colorgan.tracking.outbox import PICTURES, Outbox
from colorgan.tracking.run import RunDescription, is_unsent, mark_killed, open_recorder
from recording import SHA, Describe, Runs, Server, artifacts, train, uri_of, weights

# Trains 200 iterations in 20 epochs from its last checkpoint, one each 7 iterations.
TRAIN = """
import sys, time
from pathlib import Path
from PIL import Image
from colorgan.data.arrays import DatasetInfo
from colorgan.tracking import sending
from colorgan.tracking.run import RunDescription, open_recorder
sending.SEND_EVERY = 0.02
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
data = DatasetInfo("lab", 64, 2, {"train": 8}, 1, "d" * 64)
at = folder / "checkpoint"
start = int(at.read_text()) if at.exists() else 0
run = RunDescription("train_lab", "lab", {"lr": 1}, data, folder=folder, token="f" * 32,
                     iteration=start, epoch=start // 10)
with open_recorder(run) as recorder:
    print("trains", flush=True)
    for i in range(start + 1, 201):
        time.sleep(seconds)
        recorder.log_losses(i, (i - 1) // 10 + 1, {"d": 1 / i, "g": i / 7, "l1": 1.5})
        if i % 10 == 0:
            recorder.log_validation(i // 10, {"psnr": i / 3})
            recorder.log_picture(Image.new("RGB", (300, 100), (i, 0, 0)), "val/grid", i // 10)
        if i % 7 == 0:
            at.with_suffix(".part").write_text(str(i))
            at.with_suffix(".part").replace(at)
"""


def test_a_training_that_is_killed_again_and_again_is_one_run_with_one_gap_free_curve(
    tmp_path: Path, runs: Runs, client: MlflowClient
) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    chance = random.Random(4)
    for n in range(4):
        last = n == 3
        command = [sys.executable, "-c", TRAIN, str(folder), "0" if last else "0.01"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "trains\n"
            if not last:
                time.sleep(chance.uniform(0.05, 0.8))
                process.send_signal(signal.SIGKILL)
        assert process.returncode == (0 if last else -signal.SIGKILL)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["resumed"] == "3"
    assert len(run.data.tags["resumed.from"].split(", ")) == 3
    iterations, epochs = range(1, 201), range(1, 21)
    for name, points in {
        "train/d": [(i, 1 / i) for i in iterations],
        "train/g": [(i, i / 7) for i in iterations],
        "train/l1": [(i, 1.5) for i in iterations],
        "epoch": [(i, (i - 1) // 10 + 1) for i in iterations],
        "val/psnr": [(epoch, epoch * 10 / 3) for epoch in epochs],
    }.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((point.step, point.value) for point in history) == points, name
    assert pictures(artifacts(run)) == {str(epoch): [".png", ".webp"] for epoch in epochs}
    lines = (folder / "losses.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(iterations)
    assert len((folder / "validation.csv").read_text().splitlines()) == 21
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint",
        "losses.csv",
        "validation.csv",
    ]


def pictures(folder: Path) -> dict[str, list[str]]:
    """The kinds of files of a run's stepped pictures, by step."""
    found: dict[str, list[str]] = {}
    # A kill leaves the hidden file that MLflow writes before it renames it.
    for file in (folder / "images").glob("[!.]*"):
        found.setdefault(file.name.split("+")[2], []).append(file.suffix)
        assert Image.open(file).size[0] > 50
    return {step: sorted(kinds) for step, kinds in found.items()}


def test_going_on_opens_the_run_again_and_describes_it_once(
    describe: Describe, runs: Runs, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = describe()
    with pytest.raises(KeyboardInterrupt):
        log_and_raise(first, KeyboardInterrupt())
    (before,) = runs()
    assert before.info.status == "KILLED"
    assert before.data.tags["resumed"] == "0"
    monkeypatch.setenv("DVC_EXP_NAME", "another")
    again = replace(first, params={"train.lr": 3}, extra={"device": "other"}, iteration=120)
    with open_recorder(again):
        assert runs()[0].info.status == "RUNNING"
    with open_recorder(replace(again, iteration=480)):
        pass
    (after,) = runs()
    assert after.info.status == "FINISHED"
    assert after.data.params == before.data.params
    changed = {"resumed": "2", "resumed.from": "120, 480"}
    assert after.data.tags == {**before.data.tags, **changed}
    # The samples of the machine go on too.
    history = client.get_metric_history(after.info.run_id, "system/cpu_utilization_percentage")
    assert [point.step for point in history] == list(range(len(history)))
    assert len(history) >= 3


def log_and_raise(run: RunDescription, error: BaseException) -> None:
    with open_recorder(run) as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
        raise error


def test_another_training_is_another_run_and_a_deleted_run_does_not_count(
    describe: Describe, runs: Runs, client: MlflowClient
) -> None:
    first = describe()
    for run in (first, describe()):
        with open_recorder(run):
            pass
    assert len(runs()) == 2
    for recorded in runs():
        client.delete_run(recorded.info.run_id)
    with open_recorder(replace(first, iteration=5)):
        pass
    (run,) = runs()
    assert run.data.tags["resumed"] == "0"


def test_a_run_whose_description_was_cut_short_is_described_again(
    describe: Describe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = describe(params={"a": 1, "runtime.workers": 2})

    def killed(*arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_inputs", killed)
        with pytest.raises(SystemExit):
            open_recorder(run)
    # What cannot change a result may be another this time.
    with open_recorder(replace(run, params={"a": 1, "runtime.workers": 4})):
        assert runs()[0].info.status == "RUNNING"
    (whole,) = runs()
    assert whole.data.params == {"a": "1", "runtime.workers": "2"}
    assert whole.data.tags["device"] == "cpu"
    assert whole.data.tags["stage"] == "train_lab"
    assert len(whole.inputs.dataset_inputs) == 1
    assert (artifacts(whole) / "environment.txt").exists()


def test_the_same_weights_are_sent_once(
    describe: Describe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = count(monkeypatch, "log_artifacts")
    run = describe()
    train(run)
    train(run)
    assert sent["log_artifacts"] == 1
    train(run, sha256="cd" * 32)
    assert sent["log_artifacts"] == 2
    (recorded,) = runs()
    assert recorded.data.tags["colorgan.generator_sha256"] == "cd" * 32
    assert pictures(artifacts(recorded)) == {"1": [".png", ".webp"], "2": [".png", ".webp"]}


def count(monkeypatch: pytest.MonkeyPatch, *names: str) -> Counter[str]:
    """Count calls of methods of MLflow's client."""
    calls: Counter[str] = Counter()
    for name in names:
        method = getattr(MlflowClient, name)

        def counted(
            *arguments: object, name: str = name, method: object = method, **named: object
        ) -> object:
            calls[name] += 1
            return method(*arguments, **named)  # type: ignore[operator]

        monkeypatch.setattr(MlflowClient, name, counted)
    return calls


def test_a_server_that_comes_back_gets_everything_once(
    describe: Describe,
    runs: Runs,
    client: MlflowClient,
    server: Server,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_recorder(describe()) as recorder:
        for iteration in range(1, 31):
            server.gone = 10 < iteration <= 20
            recorder.log_losses(iteration, 1, {"d": 1 / iteration})
            if iteration % 10 == 5:
                recorder.log_picture(Image.new("RGB", (300, 100)), "val/grid", iteration)
            time.sleep(0.02)
        server.gone = True
        recorder.log_model(weights(), SHA)
        server.gone = False
    (run,) = runs()
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train/d")
    assert [point.step for point in history] == list(range(1, 31))
    both = [".png", ".webp"]
    assert pictures(artifacts(run)) == {"5": both, "15": both, "25": both}
    assert (artifacts(run) / "model" / "generator.safetensors").exists()
    assert run.data.tags["colorgan.generator_sha256"] == SHA
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("MLflow at sqlite:///")
    assert said.endswith(
        " failed (gone): training goes on, what could not be sent is kept and sent again\n"
    )


def test_a_server_that_stays_away_is_told_what_it_missed_when_training_goes_on(
    describe: Describe,
    runs: Runs,
    client: MlflowClient,
    server: Server,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = describe()

    def stopped() -> None:
        with open_recorder(run) as recorder:
            server.gone = True
            recorder.log_losses(10, 1, {"d": 0.1})
            recorder.log_losses(20, 1, {"d": 0.2})
            recorder.log_validation(1, {"psnr": 1 / 3})
            recorder.log_picture(Image.new("RGB", (300, 100)), "val/grid", 1)
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert time.monotonic() - started < 10
    missed = "5 metrics, 1 picture and the end of this run: losses.csv and validation.csv"
    rest = f"in {run.folder} have every number, and training that goes on sends the rest\n"
    assert capsys.readouterr().err.endswith(f" did not get {missed} {rest}")
    server.gone = False
    with open_recorder(replace(run, iteration=20, epoch=1)) as recorder:
        recorder.log_losses(30, 2, {"d": 0.3})
    (recorded,) = runs()
    history = client.get_metric_history(recorded.info.run_id, "train/d")
    assert [(point.step, point.value) for point in history] == [(10, 0.1), (20, 0.2), (30, 0.3)]
    assert recorded.data.metrics["val/psnr"] == 1 / 3
    assert pictures(artifacts(recorded)) == {"1": [".png", ".webp"]}
    assert capsys.readouterr().err == ""


def test_a_server_that_does_not_answer_does_not_keep_the_end_waiting(
    describe: Describe,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sending, "PATIENCE", 0.5)
    run, answers = describe(), threading.Event()
    try:
        with open_recorder(run) as recorder:
            for name in ("log_batch", "log_artifacts", "set_tag", "set_terminated"):
                monkeypatch.setattr(MlflowClient, name, lambda *_, **__: answers.wait(60))
            recorder.log_losses(10, 1, {"d": 0.1})
            started = time.monotonic()
            recorder.log_model(weights(), SHA)
        assert time.monotonic() - started < 20
    finally:
        # What waits for an answer must not outlive what it was given to call.
        answers.set()
        for thread in threading.enumerate():
            if thread.name == "colorgan-sender":
                thread.join(20)
                assert not thread.is_alive()
    assert capsys.readouterr().err.endswith(
        f"did not get 2 metrics, the model and the end of this run: losses.csv and "
        f"validation.csv in {run.folder} have every number, and `python -m colorgan train lab` "
        "with these parameters sends the rest\n"
    )


def test_a_model_that_takes_long_is_waited_for_also_at_the_end(
    describe: Describe, runs: Runs, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PATIENCE", 0.3)
    log_artifacts = MlflowClient.log_artifacts

    def slowly(*arguments: object, **named: object) -> None:
        if not server.gone:
            time.sleep(1.5)
        log_artifacts(*arguments, **named)

    monkeypatch.setattr(MlflowClient, "log_artifacts", slowly)
    run = describe()
    with open_recorder(run) as recorder:
        recorder.log_losses(10, 1, {"d": 0.1})
        server.gone = True
        recorder.log_model(weights(), SHA)
        server.gone = False
    (recorded,) = runs()
    assert recorded.info.status == "FINISHED"
    assert recorded.data.tags["colorgan.generator_sha256"] == SHA
    assert not is_unsent(run.folder)


def test_a_picture_whose_small_copy_is_missing_gets_it_and_stays_one(
    describe: Describe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_artifact = MlflowClient.log_artifact
    run = describe()

    def half(self: MlflowClient, run_id: str, path: str, folder: str | None = None) -> None:
        if path.endswith(".webp"):
            raise ConnectionError("gone")
        log_artifact(self, run_id, path, folder)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", half)
        train(run)
    assert pictures(artifacts(runs()[0])) == {"1": [".png"]}
    train(run)
    assert pictures(artifacts(runs()[0])) == {"1": [".png", ".webp"], "2": [".png", ".webp"]}


def test_a_run_that_nobody_goes_on_with_is_killed(
    describe: Describe, runs: Runs, client: MlflowClient, project: Path
) -> None:
    run = describe()
    with open_recorder(run) as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
    recorded = runs()[0].info
    mark_killed(run.token)
    assert runs()[0].info.status == "FINISHED"
    client.update_run(recorded.run_id, status="RUNNING")
    mark_killed("0" * 32)
    assert runs()[0].info.status == "RUNNING"
    mark_killed(run.token)
    assert runs()[0].info.status == "KILLED"
    # When it was last heard of.
    assert runs()[0].info.end_time <= recorded.end_time


def test_marking_a_run_makes_no_store_and_never_fails(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    mark_killed("0" * 32)
    assert list(project.iterdir()) == []
    (project / "mlflow.db").write_text("no database")
    mark_killed("0" * 32)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri_of(project / "no folder" / "mlflow.db"))
    mark_killed("0" * 32)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cut", [0, 1, 30, 75, 76, 77, 90])
def test_an_outbox_whose_file_was_cut_short_keeps_the_whole_lines(tmp_path: Path, cut: int) -> None:
    Outbox(tmp_path, {}, set()).add({"d": 0.1, "l1": 1.0}, 1)
    one = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes((one * 3)[: len(one) + cut])
    again = Outbox(tmp_path, {"l1": 1}, set())
    again.add({"d": 0.2, "l1": 2.0}, 2)
    assert [p[::3] for p in again.points()] == [("d", 1), ("d", 2), ("l1", 2)]
    reopened = Outbox(tmp_path, {}, set())
    assert reopened.points() == again.points()


def test_an_outbox_keeps_some_pictures_and_counts_the_rest(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "unsent", {}, {("val/grid", 3)})
    picture = Image.new("RGB", (4, 4))
    for step in range(PICTURES + 6):
        outbox.add_picture(picture, "val/grid", step)
    assert len(outbox.pictures()) == PICTURES
    assert outbox.lost == 5
    again = Outbox(tmp_path / "unsent", {}, set())
    again.pictures()[0].unlink()
    again.add_picture(picture, "val/grid", 1)
    assert again.lost == 0
    assert len(again.pictures()) == PICTURES - 1


def test_an_outbox_without_a_disk_keeps_metrics_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outbox = Outbox(tmp_path / "file" / "unsent", {}, set())
    outbox.add({"d": 0.1}, 1)
    outbox.add_picture(Image.new("RGB", (4, 4)), "val/grid", 1)
    assert (len(outbox.points()), outbox.lost) == (1, 1)
    outbox.sent(1)
    outbox.close()
    assert outbox.points() == []
