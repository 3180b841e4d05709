"""A training that ends while MLflow is away: what it did not get is kept, and sent later."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from torch import Tensor

from colorgan import io, paths
from colorgan.config import load_params
from colorgan.tracking.outbox import Outbox
from colorgan.tracking.run import is_unsent, open_recorder
from colorgan.training.step import Pix2Pix
from colorgan.training.train import train
from recording import Describe, Runs, Server, artifacts, runs_in, uri_of

SHA256 = "colorgan.generator_sha256"
WEIGHTS = "generator.safetensors"
OUTS = (f"models/lab/{WEIGHTS}", "models/lab/config.json", "reports/lab/losses.csv",
        "reports/lab/validation.csv")  # fmt: skip


def outs() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in OUTS}


@pytest.fixture
def tiny(
    write_arrays: Callable[..., Path], write_params: Callable[..., None]
) -> Callable[..., None]:
    """Write the arrays of `lab` and tiny parameters, with changes."""

    def write(**changes: object) -> None:
        write_arrays("lab", train=20)
        write_params(
            {"logging.log_every": 1, **{k.replace("__", "."): v for k, v in changes.items()}}
        )

    return write


def test_what_a_finished_training_could_not_send_is_sent_by_a_later_start(
    tiny: Callable[..., None],
    server: Server,
    client: MlflowClient,
    runs: Runs,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step, done = Pix2Pix.train_step, []

    def counted(self: Pix2Pix, input: Tensor, target: Tensor, iteration: int = 0) -> Tensor:
        done.append(iteration)
        server.gone = iteration >= 4
        return step(self, input, target, iteration)

    monkeypatch.setattr(Pix2Pix, "train_step", counted)
    tiny(runtime__progress="lines")
    train(load_params(), "lab")
    assert done == list(range(10))
    said = capsys.readouterr().err
    assert "the model and the end of this run" in said
    assert said.endswith("`python -m colorgan train lab` with these parameters sends the rest\n")
    (run,) = runs()
    assert run.info.status == "RUNNING"
    assert SHA256 not in run.data.tags
    (folder,) = (path.parent for path in (project / ".resume").glob("train_lab/*/finished.json"))
    assert is_unsent(folder)
    before = outs()

    # Still gone: that is said, and keeps no results back.
    shutil.rmtree("models")
    train(load_params(), "lab")
    assert outs() == before
    assert "train lab: recording to MLflow" in capsys.readouterr().err
    assert is_unsent(folder)

    server.gone = False
    train(load_params(), "lab")
    assert len(done) == 10, "nothing is trained again"
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.endswith("MLflow has got what it had missed of it\n")
    (run,) = runs()
    assert_all_there(client, run.info.run_id, iterations=10)
    assert run.data.tags[SHA256] == io.sha256(paths.model("lab") / WEIGHTS)
    assert (artifacts(run) / "model" / WEIGHTS).is_file()
    assert not is_unsent(folder)
    assert outs() == before

    train(load_params(), "lab")
    assert runs()[0].data.tags == run.data.tags, "there is nothing left to send"


def assert_all_there(client: MlflowClient, run_id: str, iterations: int) -> None:
    assert client.get_run(run_id).info.status == "FINISHED"
    for name, last in (("train/loss_D", iterations), ("epoch", iterations), ("val/psnr", 2)):
        points = client.get_metric_history(run_id, name)
        assert sorted(point.step for point in points) == list(range(1, last + 1)), name


def test_a_full_disk_does_not_keep_an_outbox_from_closing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "unsent", {}, set())
    with full_disk(outbox):
        outbox.add({"d": 0.1}, 1)
        outbox.sent(1)
        outbox.add({"d": 0.2}, 2)
        assert [point.value for point in outbox.points()] == [0.2]
        with pytest.raises(OSError, match="No space left"):
            outbox.close()
    outbox.close()
    assert not (tmp_path / "unsent").exists()


@contextmanager
def full_disk(outbox: Outbox) -> Iterator[None]:
    assert outbox._journal
    outbox._journal.close()
    with Path("/dev/full").open("a") as journal:
        outbox._journal = journal
        yield


@pytest.mark.parametrize("gone", [True, False])
def test_a_full_disk_at_the_end_of_a_training_is_said_if_something_is_lost(
    describe: Describe, server: Server, capsys: pytest.CaptureFixture[str], gone: bool
) -> None:
    run = describe()
    recorder = open_recorder(run)
    with full_disk(recorder._sinks[0]._outbox), recorder:  # type: ignore[attr-defined]
        server.gone = gone
        recorder.log_losses(10, 1, {"d": 0.1})
    said = capsys.readouterr().err.splitlines()
    assert is_unsent(run.folder) == gone
    if not gone:
        assert said == []
        return
    assert said[-2].endswith("could not be kept whole (No space left on device)")
    assert "did not get 2 metrics and the end of this run" in said[-1]


# ---- a real server, killed for real

# Waits in the middle until it is told to go on. Points are sent as they come.
HALF_WAY = """
import sys, time
from pathlib import Path
from colorgan import cli
from colorgan.tracking import sending
from colorgan.training.step import Pix2Pix

sending.SEND_EVERY = 0.1
step = Pix2Pix.train_step

def waiting(self, input, target, iteration=0):
    if iteration == 5:
        Path("half-way").touch()
        while not Path("go on").exists():
            time.sleep(0.02)
    return step(self, input, target, iteration)

Pix2Pix.train_step = waiting
sys.argv = ["colorgan", "train", "lab"]
cli.main()
"""


@contextmanager
def served(store: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve a store on this machine's own network; a SIGKILL at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri_of(store)]
    command += ["--artifacts-destination", str(store.with_name("server's artifacts"))]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # Its job runner would live on, in a group of its own.
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with store.with_suffix(".log").open("ab") as log:
        # With the processes that it starts in a group of their own.
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_gets_everything_once_when_it_is_back(
    tiny: Callable[..., None],
    tables: Path,
    tmp_path: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny(runtime__progress="lines")
    store = Path(shutil.copy(tables, tmp_path / "server.db"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # A second retry waits for seconds.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    client = MlflowClient(uri_of(store))
    log = tmp_path / "training.log"
    with served(store, port), log.open("wb") as file:
        training = subprocess.Popen([sys.executable, "-c", HALF_WAY], stdout=file, stderr=file)
        wait_for(lambda: Path("half-way").exists() or training.poll() is not None)
        wait_for(lambda: runs_in(client)[0].data.metrics.get("train/loss_D"))
    Path("go on").touch()
    assert training.wait(200) == 0, log.read_text()
    said = log.read_text()
    place = f"MLflow at http://127.0.0.1:{port}"
    assert said.count(f"{place} failed (") == 1, said
    assert "training goes on, what could not be sent is kept and sent again" in said
    assert f"{place} did not get " in said
    assert "the model and the end of this run: losses.csv and validation.csv in" in said
    before = outs()
    (run,) = runs_in(client)
    assert run.info.status == "RUNNING"

    with served(store, port):
        again = subprocess.run(
            [sys.executable, "-m", "colorgan", "train", "lab"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (again.returncode, again.stderr) == (0, "")
        assert again.stdout.endswith("MLflow has got what it had missed of it\n")
        through_the_server = MlflowClient(f"http://127.0.0.1:{port}")
        model = Path(through_the_server.download_artifacts(run.info.run_id, "model", str(tmp_path)))
        assert io.sha256(model / WEIGHTS) == io.sha256(paths.model("lab") / WEIGHTS)
        images = through_the_server.list_artifacts(run.info.run_id, "images")
    steps = sorted(Path(image.path).name.split("+")[2] for image in images)
    assert steps == ["0", "0", "2", "2"], "a picture and its small copy, each once"
    (run,) = runs_in(client)
    assert_all_there(client, run.info.run_id, iterations=10)
    assert run.data.tags[SHA256] == io.sha256(paths.model("lab") / WEIGHTS)
    assert not list((project / ".resume").rglob("unsent"))
    assert outs() == before
