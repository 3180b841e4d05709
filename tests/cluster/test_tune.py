"""A search of a few tiny trials on two nodes: its runs in MLflow, stopped, resumed, refused."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster.conftest import Command, TwoNodes
from colorgan import paths
from colorgan.tracking.mlflow_log import MlflowClient
from kill_runs import make_place
from servers import wait_for

pytestmark = pytest.mark.slow
CHANGES = {"lab.train": {"lambda_l1": 50}, "train.epochs": 4, "runtime.checkpoint_minutes": 0}
DOMAINS = """
train.lr: {low: 0.0001, high: 0.01, log: true}
train.lambda_l1: {choices: [10, 100]}
"""


def runs() -> list[Any]:
    """All runs in MLflow, the oldest first."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("colorgan")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def worker_of_training(folder: Path) -> psutil.Process:
    """The process of Ray that has started the training of a trial."""
    for process in psutil.process_iter(["cmdline"]):
        trains = (process.info["cmdline"] or [])[-3:] == ["colorgan", "train", "lab"]
        if trains and Path(process.cwd()).parent == folder.absolute():
            return process.parent()
    raise AssertionError("no trial is running")


def test_a_search_is_stopped_and_resumed_and_ends_with_the_best_values(
    start: Callable[..., Command], run: Callable[..., str], tables: Path
) -> None:
    make_place(Path(), tables, CHANGES)
    Path("try.yaml").write_text(DOMAINS)
    command = start("tune", "lab", "--trials", 3, "--file", "try.yaml", "--workers", 2)
    folder = Path(".resume/tune_lab")
    wait_for(lambda: [*folder.glob("*/.resume/*/*/validation.csv")] or command.ended(), 300)
    command.process.send_signal(signal.SIGINT)
    code, out, err = command.wait()
    assert code == 130, out + err
    assert " of 3 trials are done; --resume goes on" in out
    assert runs()[0].info.status == "KILLED"

    said = run("tune", "lab", "--resume", "--workers", 2)
    parent, *children = runs()
    assert (parent.data.tags["stage"], parent.info.status) == ("tune_lab", "FINISHED")
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.data.tags["stage"] for run in children} == {"train_lab"}
    assert 3 <= len(children) <= 4  # one that had hardly begun may be drawn again
    assert {float(run.data.params["train.lambda_l1"]) for run in children} <= {10, 100}
    # The best is what its child has recorded.
    lr, factor = re.findall(r"exp run -S train\.lr=(\S+) -S lab\.train\.lambda_l1=(\S+)", said)[0]
    [best] = [run for run in children if run.data.params["train.lr"] == lr]
    assert float(best.data.params["train.lambda_l1"]) == float(factor)
    value = parent.data.metrics["val/ciede2000_ecf"]
    assert value == pytest.approx(best.data.metrics["val/ciede2000_ecf"])
    finished = [run for run in children if run.info.status == "FINISHED"]
    assert value <= min(run.data.metrics["val/ciede2000_ecf"] for run in finished)
    assert not folder.exists()
    assert not paths.model("lab").exists()


def test_a_search_resumes_after_its_worker_and_its_command_were_killed(
    start: Callable[..., Command], run: Callable[..., str], tables: Path
) -> None:
    make_place(Path(), tables, CHANGES | {"train.epochs": 12})
    Path("try.yaml").write_text(DOMAINS)
    command = start("tune", "lab", "--trials", 2, "--file", "try.yaml", "--workers", 1)
    folder = Path(".resume/tune_lab")
    wait_for(lambda: [*folder.glob("*/.resume/*/*/validation.csv")] or command.ended(), 300)
    worker_of_training(folder).kill()
    logs = folder.glob
    goes_on = "goes on from iteration "
    wait_for(lambda: any(goes_on in f.read_text() for f in logs("*/log.txt")) or command.ended())
    assert not command.ended(), command.wait()
    command.process.kill()
    command.wait()
    assert "exp run -S train.lr=" in run("tune", "lab", "--resume", "--workers", 1)
    parent, *children = runs()
    assert parent.info.status == "FINISHED"
    assert len(children) == 2  # the trial that was killed twice is one run
    assert "FINISHED" in {run.info.status for run in children}
    assert not folder.exists()


def test_what_cannot_be_searched_is_one_sentence(
    two_nodes: TwoNodes, project: Path, tables: Path, colorgan: Callable[..., Any]
) -> None:
    def refused(content: str, *arguments: str) -> str:
        Path("try.yaml").write_text(content)
        said = colorgan("cluster", "tune", "lab", "--file", "try.yaml", "--trials", "2", *arguments)
        assert said.code != 0
        return str(said.err.splitlines()[-1])

    assert "data/processed/lab/dataset.json does not exist" in refused(DOMAINS)
    make_place(Path(), tables, {"train.epochs": 1})
    said = "colorgan: try.yaml: train.lrr is not a parameter; did you mean lr?"
    assert refused("train.lrr: {low: 0.1, high: 0.2}").startswith(said)
    assert "try.yaml: train.lr should have `choices`" in refused("train.lr: {low: 1}")
    assert "train.lr should have `choices`" in refused("train.lr: {low: 0, high: 1, log: true}")
    assert "lab.path should be a parameter of train or model" in refused("lab.path: {choices: [a]}")
    assert "holds no search to resume" in refused(DOMAINS, "--resume")
    said = refused("train.batch_size: {choices: [1000]}")
    assert said.startswith("colorgan: no trial has succeeded; the first one: ")
    assert "train.batch_size is 1000, which is more than the 20 training photos" in said
