"""Kills, Ctrl-C and SIGTERM at any moment: the same command resumes, to the same bits."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colorgan import io
from colorgan.runs.checkpoint import Checkpoint
from colorgan.runs.stopping import Stopped, StopSignal
from kill_runs import WEIGHTS, Nursery, Place, make_place, nursery_of_all, wait_for

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
TOTAL = 30
LOGGED = [*range(4, TOTAL, 4), TOTAL]
CHANGES = {
    "train.epochs": 6,
    "train.decay_epochs": 4,
    "train.ema_decay": 0.9,
    "train.keep": "best",
    "logging.log_every": 4,
    "runtime.checkpoint_minutes": 60,
    "runtime.checkpoint_iterations": 3,
}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    return nursery_of_all(tmp_path_factory)


@pytest.fixture(scope="module")
def unbroken(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, dict[str, bytes]]:
    """A place as it was before the training, and the outs of an unbroken training."""
    folder = tmp_path_factory.mktemp("unbroken")
    place = make_place(folder / "before", CHANGES)
    trained = Place(Path(shutil.copytree(place.folder, folder / "after")))
    nursery.train(trained)
    return place, trained.outs()


@pytest.fixture
def place(unbroken: tuple[Place, dict[str, bytes]], tmp_path: Path) -> Place:
    return Place(Path(shutil.copytree(unbroken[0].folder, tmp_path / "place")))


# --- kills ---

AT_ONCE = "import os, signal; kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
# Where a training is killed: the code that does it, and what the next start says.
KILLS = {
    "before the first checkpoint": (
        "from colorgan.training.step import Pix2Pix\n"
        "step = Pix2Pix.train_step\n"
        "Pix2Pix.train_step = lambda s, x, y, i: kill() if i == 2 else step(s, x, y, i)",
        None,
    ),
    "a checkpoint is half-written": (
        "from colorgan.runs import checkpoint\n"
        "sync, written = checkpoint.sync, []\n"
        "def second(path):\n"
        "    written.append(path)\n"
        "    kill() if len(written) == 2 else sync(path)\n"
        "checkpoint.sync = second",
        "goes on from iteration 3 of 30",
    ),
    "in validation": (
        "from colorgan.training import trainer\n"
        "validate, calls = trainer.validate, []\n"
        "def third(*given):\n"
        "    calls.append(1)\n"
        "    return kill() if len(calls) == 3 else validate(*given)\n"
        "trainer.validate = third",
        r"goes on from iteration (12|15) of 30",
    ),
    "the model is not recorded": (
        "from colorgan.tracking.run import Recorder\nRecorder.log_model = kill",
        r"goes on from iteration (27|30) of 30",
    ),
    "all is recorded, which is not noted": (
        "from colorgan.runs.run_dir import RunDir\nRunDir.finish = kill",
        r"goes on from iteration (27|30) of 30",
    ),
    "half of the outs are there": (
        "import shutil\n"
        "copy = shutil.copyfile\n"
        "shutil.copyfile = lambda a, *b, **c: (\n"
        "    kill() if str(a).endswith('losses.csv') else copy(a, *b, **c))",
        "was trained to the end already",
    ),
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_kill_leaves_no_trace(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place, moment: str
) -> None:
    kill, expected = KILLS[moment]
    with nursery.new_runs() as new_runs:
        life = nursery.start(place, before=AT_ONCE + kill)
        assert life.wait() == -signal.SIGKILL, life.said
        # DVC deletes the outs before it runs the stage again.
        shutil.rmtree(place.folder / "models", ignore_errors=True)
        shutil.rmtree(place.folder / "reports", ignore_errors=True)
        said = nursery.train(place)
        (run,) = new_runs()
    assert place.outs() == unbroken[1]
    assert place.half_written() == []
    assert re.search(expected, said) if expected else "goes on" not in said
    assert run.info.status == "FINISHED"
    weights = place.folder / "models/lab" / WEIGHTS
    assert run.data.tags["colorgan.generator_sha256"] == io.sha256(weights)
    assert [step for step, _ in nursery.histories(run)["train/loss_D"]] == LOGGED


# --- Ctrl-C and SIGTERM ---

SLOWER = """
import time
from colorgan.training.step import Pix2Pix
step = Pix2Pix.train_step
def slower(*given):
    time.sleep(0.02)
    return step(*given)
Pix2Pix.train_step = slower
"""


def position(place: Place) -> tuple[int, int]:
    """Iteration and epoch of its checkpoint."""
    checkpoint = Checkpoint.read(place.resume / "checkpoint.safetensors")
    assert checkpoint
    return checkpoint.iteration, checkpoint.epoch


def stopped_at(said: str) -> int:
    """The iteration after which it says it was stopped."""
    (number,) = re.findall(
        r"^train lab: stopped after iteration (\d+) of \d+; the same command goes on$", said, re.M
    )
    return int(number)


def resumes(nursery: Nursery, place: Place, iteration: int, outs: dict[str, bytes]) -> None:
    """The same command resumes from there and ends as an unbroken training."""
    assert f"train lab: goes on from iteration {iteration} of {TOTAL}\n" in nursery.train(place)
    assert place.outs() == outs
    assert place.half_written() == []


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 0)])
def test_a_signal_writes_a_checkpoint_at_once(
    nursery: Nursery,
    unbroken: tuple[Place, dict[str, bytes]],
    place: Place,
    number: signal.Signals,
    workers: int,
) -> None:
    """Ctrl-C reaches the whole process group, loader processes too."""
    params = place.folder / "params.yaml"
    params.write_text(params.read_text().replace("num_workers: 0", f"num_workers: {workers}"))
    with nursery.new_runs() as new_runs:
        life = nursery.start(place, before=SLOWER)
        wait_for(lambda: place.iteration() >= 8 or life.ended())
        life.signal(number, group=True)
        assert life.wait(20) == CODES[number], life.said
        at = stopped_at(life.said)
        assert position(place) in ((at, (at - 1) // 5), (at, at // 5))
        (run,) = new_runs()
        assert run.info.status == "KILLED"
        resumes(nursery, place, at, unbroken[1])
        (run,) = new_runs()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in nursery.histories(run)["train/loss_D"]] == LOGGED


def test_the_command_as_a_person_types_it(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place
) -> None:
    """The other tests fork their processes, to save the imports."""
    params = place.folder / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 6", "epochs: 4000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "colorgan", "train", "lab"],
        cwd=place.folder,
        env=nursery.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: place.iteration() or process.poll() is not None, 120)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert position(place)[0] == stopped_at(out)
    assert err == "colorgan: interrupted; the last complete results are untouched\n"


def test_a_signal_during_validation(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place
) -> None:
    """It does not wait for the end of validation, which is done anew."""
    slow = (
        "import time; from pathlib import Path\n"
        "from colorgan.training import validate\n"
        "psnr = validate.psnr\n"
        "def slow(*given):\n"
        "    with open('validating', 'a') as file: file.write('x')\n"
        "    time.sleep(0.5)\n"
        "    return psnr(*given)\n"
        "validate.psnr = slow\n"
    )
    life = nursery.start(place, before=slow)
    validating = place.folder / "validating"
    wait_for(lambda: validating.exists() or life.ended())
    life.signal(signal.SIGTERM)
    assert life.wait(20) == 143, life.said
    # Validation of 5 photos is two batches.
    assert validating.read_text() == "x"
    assert stopped_at(life.said) == 5
    assert position(place) == (5, 0)
    assert not (place.resume / "validation.csv").exists()
    resumes(nursery, place, 5, unbroken[1])


HANGING = """
import time
from colorgan.training.step import Pix2Pix
step = Pix2Pix.train_step
def hangs(self, input, target, iteration):
    if iteration == 7:
        open("hangs", "w").close()
        time.sleep(60)
    return step(self, input, target, iteration)
Pix2Pix.train_step = hangs
"""


def test_a_second_signal_ends_it_at_once(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place
) -> None:
    life = nursery.start(place, before=HANGING)
    wait_for(lambda: (place.folder / "hangs").exists() or life.ended())
    life.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert not life.ended()
    life.signal(signal.SIGTERM)
    assert life.wait(20) == 143, life.said
    # It resumes from the checkpoint before.
    assert position(place) == (6, 1)
    resumes(nursery, place, 6, unbroken[1])


# --- the signal alone ---


@pytest.fixture
def handlers() -> Iterator[dict[int, Any]]:
    """The handlers of this process, put back in the end."""
    before = {number: signal.getsignal(number) for number in CODES}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES, ids=str)
def test_a_signal_is_noted_until_it_is_checked(
    handlers: dict[int, Any], number: signal.Signals
) -> None:
    with StopSignal() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.received == number
        with pytest.raises(Stopped):
            stop.check()
        with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
            stop.exit()
    assert isinstance(ended.value, KeyboardInterrupt) or ended.value.code == 143
    assert {number: signal.getsignal(number) for number in CODES} == handlers


def test_in_a_group_a_second_one_is_the_launchers(handlers: dict[int, Any]) -> None:
    """After Ctrl-C it tells each process once more what the terminal has told them all."""
    with StopSignal(patient=True) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.exit()
