"""Two processes that train together: numbers as of one, stopped, killed and recorded as one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest

from kill_runs import OUTS, Place, make_place, stopped_at
from servers import wait_for

# --- the numbers ---

# Measured: at most 0.00002 between two processes and one in float32; 0.006 where batch norm sees
# the whole batch, 0.009 and more where gradients are averaged nowhere.
TOLERANCE = 0.0005
EXACT = {
    "lab.image_size": 32,
    "model.ngf": 4,
    "model.ndf": 4,
    "model.dropout": 0.0,
    "model.norm": "none",
    "train.lr": 0.001,
    "logging.log_every": 1,
    "train.epochs": 10,
}
WITHOUT_MLFLOW = """
from colorgan.tracking import run
run._mlflow_log = lambda: None
"""
# As torchrun would start them, but forked: the imports are there already.
TWO = """
import os, socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
rank = "1" if os.fork() == 0 else "0"
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
"""


@pytest.mark.slow
def test_without_batch_norm_the_losses_are_those_of_one_process(tables, tmp_path) -> None:
    """Of one global batch; with batch norm each process normalises its own share."""
    curves = []
    for name, before in (("alone", WITHOUT_MLFLOW), ("two", WITHOUT_MLFLOW + TWO)):
        place = make_place(tmp_path / name, tables, EXACT, side=32)
        place.train(before)
        curves.append(pd.read_csv(place.folder / OUTS[2]))
    expected, found = curves
    assert found["iteration"].tolist() == list(range(1, 51))
    for name in ("loss_D", "loss_G_GAN", "loss_G_L1"):
        assert found[name].tolist() == pytest.approx(expected[name].tolist(), rel=TOLERANCE), name


# --- the command ---

TOTAL = 160
LOGGED = [*range(3, TOTAL, 3), TOTAL]
CHANGES = {
    "train.epochs": 8,
    "train.decay_start": 0.5,
    "logging.log_every": 3,
    "runtime.devices": 2,
    "runtime.checkpoint_minutes": 0,
}


@pytest.fixture
def place(tables: Path, tmp_path: Path) -> Iterator[Place]:
    """A place where nothing was trained yet; what a failed test leaves running there is ended."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two processes are refused on one core")
    place = make_place(tmp_path / "place", tables, CHANGES, train=80)
    yield place
    kill_all(place)


def kill_all(place: Place) -> None:
    for pid in living(place):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def living(place: Place) -> list[int]:
    """The processes that work in a place."""
    found = []
    for process in psutil.process_iter(["cwd", "status"]):
        info = process.info
        if info["cwd"] == str(place.folder) and info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def only_what_is_meant_for_a_person(said: str) -> bool:
    """Say that neither torch nor the death of one process has added to it."""
    return not any(noise in said for noise in ("Warning", "Traceback", "death signal"))


CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}


def break_off(place: Place, number: signal.Signals, after: int) -> str:
    """Train, send a signal once iteration `after` is logged, wait for the end; what it said."""
    life = place.start()
    wait_for(lambda: place.iteration() >= after or life.ended())
    if number == signal.SIGKILL:
        kill_all(place)
    else:
        life.signal(number)
    assert life.wait(180) == CODES[number], life.said
    # Nothing of it trains on: the same command would find it at work.
    wait_for(lambda: not living(place))
    assert only_what_is_meant_for_a_person(life.said), life.said
    return life.said


def went_on_from(said: str) -> int:
    """The iteration from which it says it goes on."""
    (number,) = re.findall(rf"^train lab: goes on from iteration (\d+) of {TOTAL}$", said, re.M)
    return int(number)


@pytest.mark.slow
def test_a_group_records_as_one_and_ends_the_same_when_it_is_stopped(
    place, tables, tmp_path
) -> None:
    """By SIGTERM, then by Ctrl-C, then by SIGKILL, each after the same command went on."""
    unbroken = make_place(tmp_path / "unbroken", tables, CHANGES, train=80)
    said = unbroken.train()
    assert only_what_is_meant_for_a_person(said), said
    lines = said.splitlines()
    assert len(lines) == len(set(lines)), said
    assert lines[-1].startswith(f"train lab: epoch 8/8, iteration {TOTAL}/{TOTAL}, ")
    made = [path for out in ("models", "reports") for path in (unbroken.folder / out).rglob("*.*")]
    assert sorted(str(path.relative_to(unbroken.folder)) for path in made) == sorted(OUTS)
    assert pd.read_csv(unbroken.folder / OUTS[2])["iteration"].tolist() == LOGGED
    assert pd.read_csv(unbroken.folder / OUTS[3])["epoch"].tolist() == list(range(1, 9))

    terminated = stopped_at(break_off(place, signal.SIGTERM, 15), place)
    assert [run.info.status for run in place.runs()] == ["KILLED"]
    said = break_off(place, signal.SIGINT, terminated + 15)
    assert went_on_from(said) == terminated
    assert said.count("colorgan: interrupted;") == 1, said
    interrupted = stopped_at(said, place)
    said = break_off(place, signal.SIGKILL, interrupted + 30)
    assert went_on_from(said) == interrupted
    assert interrupted < went_on_from(place.train()) < TOTAL
    assert place.outs() == unbroken.outs()
    for there in (unbroken, place):
        assert there.half_written() == []
        (run,) = there.runs()
        assert run.info.status == "FINISHED"
        assert run.data.tags["devices"] == "2"
        assert there.steps(run) == LOGGED
