"""Training on two nodes: the losses of one process, and on from the checkpoint when one dies."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.conftest import Command, TwoNodes
from colorgan import paths
from colorgan.tracking.mlflow_log import MlflowClient
from kill_runs import OUTS, make_place
from runs.test_distributed import EXACT, TOLERANCE
from servers import wait_for
from tiny_project import listing

pytestmark = pytest.mark.slow
TOTAL = 60
CHECKPOINT = ".resume/train_lab/*/checkpoint.safetensors"
CHANGES = {
    "train.epochs": 3,
    "logging.log_every": 1,
    "runtime.checkpoint_minutes": 0.005,
}


def test_the_losses_are_those_of_one_process(
    run: Callable[..., str], colorgan: Callable[..., Any], tables: Path
) -> None:
    make_place(Path(), tables, EXACT, side=32)
    assert run("train", "lab", "--workers", 2).count("train lab: epoch 10/10, iteration 50/50") == 1
    found = pd.read_csv(paths.losses("lab"))
    assert sorted(set(OUTS) & listing(Path()).keys()) == sorted(OUTS)
    for folder in (".resume", "reports", "models"):
        shutil.rmtree(folder)
    assert colorgan("train", "lab").code == 0
    expected = pd.read_csv(paths.losses("lab"))
    assert found["iteration"].tolist() == list(range(1, 51))
    for name in ("loss_D", "loss_G_GAN", "loss_G_L1"):
        assert found[name].tolist() == pytest.approx(expected[name].tolist(), rel=TOLERANCE), name


@pytest.mark.parametrize("dies", ["worker", "node"])
def test_a_training_goes_on_with_what_is_left(
    start: Callable[..., Command], two_nodes: TwoNodes, tables: Path, dies: str
) -> None:
    make_place(Path(), tables, CHANGES, train=80)
    command = start("train", "lab")
    wait_for(lambda: [*Path().glob(CHECKPOINT)] or command.ended(), 300)
    if dies == "node":
        two_nodes.kill_node()
    else:
        two_nodes.workers("RayTrainWorker")[0].kill()
    code, out, err = command.wait()
    assert code == 0, out + err
    assert "goes on from iteration " in out
    assert ("this is torch" in out + err) == (dies == "node")
    assert pd.read_csv(paths.losses("lab"))["iteration"].tolist() == list(range(1, TOTAL + 1))
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    [recorded] = client.search_runs([client.get_experiment_by_name("colorgan").experiment_id])
    assert recorded.info.status == "FINISHED"
    history = client.get_metric_history(recorded.info.run_id, "train/loss_D")
    assert sorted(point.step for point in history) == list(range(1, TOTAL + 1))


def test_after_ctrl_c_the_same_command_resumes(
    start: Callable[..., Command], run: Callable[..., str], tables: Path
) -> None:
    make_place(Path(), tables, CHANGES, train=80)
    command = start("train", "lab")
    wait_for(lambda: [*Path().glob(CHECKPOINT)] or command.ended(), 300)
    command.process.send_signal(signal.SIGINT)
    code, out, err = command.wait()
    assert code == 130, out + err
    assert err.splitlines()[-1].startswith("colorgan: interrupted;")
    assert "goes on from iteration " in run("train", "lab")


def test_what_cannot_be_trained_is_one_sentence(
    two_nodes: TwoNodes,
    write_params: Callable[..., None],
    project: Path,
    tables: Path,
    colorgan: Callable[..., Any],
) -> None:
    def refused(*arguments: str) -> str:
        said = colorgan("cluster", "train", "lab", *arguments)
        assert said.code != 0
        return str(said.err.splitlines()[-1])

    assert "data/processed/lab/dataset.json does not exist" in refused()
    make_place(Path(), tables, {})
    assert "colorgan: --workers is 3, but the cluster has 2" in refused("--workers", "3")
    write_params({"lab.image_size": 64, "train.batch_size": 5})
    assert "train.batch_size is 5, which 2 processes" in refused("--workers", "2")
    # What only a worker finds out.
    write_params({"lab.image_size": 64, "train.init": "nothing"})
    assert "nothing" in refused()
