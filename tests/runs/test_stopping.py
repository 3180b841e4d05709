"""Kills, Ctrl-C and SIGTERM at any moment: the same command resumes, to the same bits."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colorgan import io
from colorgan.runs.stopping import StopSignal
from kill_runs import WEIGHTS, Place, make_place, stopped_at
from servers import wait_for

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
TOTAL = 30
LOGGED = [*range(4, TOTAL, 4), TOTAL]
CHANGES = {
    "train.epochs": 6,
    "train.decay_start": 0.34,
    "train.ema_decay": 0.9,
    "train.keep": "best",
    "logging.log_every": 4,
    "runtime.checkpoint_minutes": 0,
}


@pytest.fixture(scope="module")
def unbroken(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The outs of an unbroken training."""
    place = make_place(tmp_path_factory.mktemp("unbroken"), tables, CHANGES)
    place.train()
    return place.outs()


@pytest.fixture
def place(tables: Path, tmp_path: Path) -> Place:
    return make_place(tmp_path / "place", tables, CHANGES)


# --- kills ---

AT_ONCE = "import os, signal; kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
# Where a training is killed: the code that does it, and what the next start says.
KILLS = {
    "before the first checkpoint": (
        "from colorgan.training.step import TrainingStep\n"
        "step = TrainingStep.train_step\n"
        "TrainingStep.train_step = lambda s, x, y, i: kill() if i == 0 else step(s, x, y, i)",
        None,
    ),
    "a checkpoint is half-written": (
        "from colorgan.runs import checkpoint\n"
        "sync, written = checkpoint.sync, []\n"
        "def second(path):\n"
        "    written.append(path)\n"
        "    kill() if len(written) == 2 else sync(path)\n"
        "checkpoint.sync = second",
        "goes on from iteration 1 of 30",
    ),
    "in validation": (
        "from colorgan.training.validate import Validator\n"
        "validate, calls = Validator.__call__, []\n"
        "def third(*given):\n"
        "    calls.append(1)\n"
        "    return kill() if len(calls) == 3 else validate(*given)\n"
        "Validator.__call__ = third",
        "goes on from iteration 15 of 30",
    ),
    "the model is not recorded": (
        "from colorgan.tracking.run import Recorder\nRecorder.log_model = kill",
        "goes on from iteration 30 of 30",
    ),
    "all is recorded, which is not noted": (
        "from colorgan.runs.run_dir import RunDir\nRunDir.finish = kill",
        "goes on from iteration 30 of 30",
    ),
    "half of the outs are there": (
        "import shutil\n"
        "copy = shutil.copyfile\n"
        "shutil.copyfile = lambda a, *b, **c: (\n"
        "    kill() if str(a).endswith('losses.csv') else copy(a, *b, **c))",
        "was trained to the end already",
    ),
}
QUICK = ("a checkpoint is half-written", "the model is not recorded")


@pytest.mark.parametrize(
    "moment",
    [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in KILLS],
)
def test_a_kill_leaves_no_trace(unbroken, place, moment) -> None:
    kill, expected = KILLS[moment]
    life = place.start(AT_ONCE + kill)
    assert life.wait() == -signal.SIGKILL, life.said
    # DVC deletes the outs before it runs the stage again.
    shutil.rmtree(place.folder / "models", ignore_errors=True)
    shutil.rmtree(place.folder / "reports", ignore_errors=True)
    said = place.train()
    assert place.outs() == unbroken
    assert place.half_written() == []
    assert re.search(expected, said) if expected else "goes on" not in said
    (run,) = place.runs()
    assert run.info.status == "FINISHED"
    weights = place.folder / "models/lab" / WEIGHTS
    assert run.data.tags["colorgan.generator_sha256"] == io.sha256(weights)
    assert place.steps(run) == LOGGED


# --- Ctrl-C and SIGTERM ---

SLOWER = """
import time
from colorgan.training.step import TrainingStep
step = TrainingStep.train_step
def slower(*given):
    time.sleep(0.02)
    return step(*given)
TrainingStep.train_step = slower
"""


@pytest.mark.parametrize(
    ("number", "workers"),
    [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow)],
)
def test_a_signal_writes_a_checkpoint_at_once(unbroken, place, number, workers) -> None:
    """Ctrl-C reaches the whole process group, loader processes too."""
    params = place.folder / "params.yaml"
    params.write_text(params.read_text().replace("num_workers: 0", f"num_workers: {workers}"))
    life = place.start(SLOWER)
    wait_for(lambda: place.iteration() >= 8 or life.ended())
    life.signal(number)
    assert life.wait(180) == CODES[number], life.said
    at = stopped_at(life.said, place)
    sentence = "colorgan: interrupted; the last complete results are untouched\n"
    assert (sentence in life.said) == (number == signal.SIGINT)
    (run,) = place.runs()
    assert run.info.status == "KILLED"
    assert f"train lab: goes on from iteration {at} of {TOTAL}\n" in place.train()
    (run,) = place.runs()
    assert place.outs() == unbroken
    assert place.half_written() == []
    assert run.info.status == "FINISHED"
    assert place.steps(run) == LOGGED


# --- the signal alone ---


@pytest.fixture
def handlers() -> Iterator[dict[int, Any]]:
    """The handlers of this process, put back in the end."""
    before = {number: signal.getsignal(number) for number in CODES}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES, ids=str)
def test_a_signal_is_noted_and_a_second_one_ends_the_process(handlers, number) -> None:
    with StopSignal() as stop:
        assert not stop.received
        os.kill(os.getpid(), number)
        assert stop.received == number
        with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
            os.kill(os.getpid(), signal.SIGINT)
    assert isinstance(ended.value, KeyboardInterrupt) or ended.value.code == 143
    assert {number: signal.getsignal(number) for number in CODES} == handlers
