"""Training on two nodes: the losses of one process, and on from the checkpoint when one dies."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cluster.conftest import Command, TwoNodes
from colorgan import paths
from kill_runs import OUTS, make_place
from runs.test_distributed import EXACT, TOLERANCE
from servers import wait_for
from tiny_project import listing

pytestmark = pytest.mark.slow
TOTAL = 160
GOES_ON = "goes on from iteration "
CHECKPOINT = ".resume/train_lab/*/checkpoint.safetensors"
CHANGES = {
    "train.epochs": 8,
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


def test_a_training_resumes_after_a_worker_the_command_and_a_node_have_died(
    start: Callable[..., Command], two_nodes: TwoNodes, tables: Path
) -> None:
    place = make_place(Path(), tables, CHANGES, train=80)

    def checkpoint_of(command: Command) -> float:
        """Wait for the next checkpoint; return how long that took."""
        since = time.time()
        files = Path().glob
        wait_for(
            lambda: command.ended() or any(f.stat().st_mtime > since for f in files(CHECKPOINT))
        )
        assert not command.ended(), command.wait()
        return time.time() - since

    command = start("train", "lab")
    first = checkpoint_of(command)
    two_nodes.workers("RayTrainWorker")[0].kill()
    wait_for(lambda: command.ended() or GOES_ON in Path(".resume/ray_lab/log.txt").read_text())
    checkpoint_of(command)
    command.process.send_signal(signal.SIGINT)
    code, out, err = command.wait()
    assert code == 130, out + err
    assert err.splitlines()[-1].startswith("colorgan: interrupted;")
    assert out.count(GOES_ON) == 1
    assert "this is torch" not in out + err

    command = start("train", "lab")
    # Ray would keep the processors for the command that was stopped for three minutes.
    assert checkpoint_of(command) < 90 + 2 * first
    two_nodes.kill_node()
    code, out, err = command.wait()
    assert code == 0, out + err
    assert out.count(GOES_ON) == 2
    assert "this is torch" in out + err  # with one process it is not bit for bit the same
    assert pd.read_csv(paths.losses("lab"))["iteration"].tolist() == list(range(1, TOTAL + 1))
    [recorded] = place.runs()
    assert recorded.info.status == "FINISHED"
    assert place.steps(recorded) == list(range(1, TOTAL + 1))


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
