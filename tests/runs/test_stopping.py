"""Ctrl-C and SIGTERM: a checkpoint at once, the exit code of the signal, and the way on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_runs import Nursery, Place, make_place, nursery_of_all, wait_for

from colorgan.runs.checkpoint import Checkpoint
from colorgan.runs.stopping import Stopped, StopSignal

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
# Validation of 5 photos is two batches; checkpoints come by a signal alone.
CHANGES = {
    "train.epochs": 8,
    "train.decay_epochs": 4,
    "logging.log_every": 3,
    "runtime.checkpoint_minutes": 60,
}
SLOWER = """
import time
from colorgan.training.step import Pix2Pix
step = Pix2Pix.train_step
def slower(*given):
    time.sleep(0.02)
    return step(*given)
Pix2Pix.train_step = slower
"""


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


def position(place: Place) -> tuple[int, int]:
    """Iteration and epoch of its checkpoint."""
    checkpoint = Checkpoint.read(place.resume / "checkpoint.safetensors")
    assert checkpoint
    return checkpoint.iteration, checkpoint.epoch


def stopped_at(said: str, total: int) -> int:
    """The iteration after which it says it was stopped."""
    (line,) = (line for line in said.splitlines() if "stopped" in line)
    words = line.removeprefix("train lab: stopped after iteration ")
    number, rest = words.split(" ", 1)
    assert rest == f"of {total}; the same command goes on"
    return int(number)


def goes_on(nursery: Nursery, place: Place, iteration: int, outs: dict[str, bytes]) -> None:
    """The same command goes on from there and ends as an unbroken training."""
    assert f"train lab: goes on from iteration {iteration} of 40\n" in nursery.train(place)
    assert place.outs() == outs
    assert place.half_written() == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", CODES, ids=str)
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
        wait_for(lambda: place.iteration() >= 9 or life.ended())
        life.signal(number, group=True)
        assert life.wait(20) == CODES[number], life.said
        at = stopped_at(life.said, 40)
        assert position(place) == (at, (at - 1) // 5) or position(place) == (at, at // 5)
        assert at - place.iteration() in (0, 1, 2)
        (run,) = new_runs()
        assert run.info.status == "KILLED"
        goes_on(nursery, place, at, unbroken[1])
        (run,) = new_runs()
    assert run.info.status == "FINISHED"
    steps = [*range(3, 40, 3), 40]
    assert [step for step, _ in nursery.histories(run)["train/loss_D"]] == steps
    assert run.data.tags["resumed.from"] == str(at)


def test_the_command_as_a_person_types_it(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place
) -> None:
    """What else is tested here runs in processes that were forked to save the imports."""
    params = place.folder / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 8", "epochs: 4000"))
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
    assert position(place)[0] == stopped_at(out, 20000)
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
    assert validating.read_text() == "x"
    assert stopped_at(life.said, 40) == 5
    assert position(place) == (5, 0)
    assert not (place.resume / "validation.csv").exists()
    goes_on(nursery, place, 5, unbroken[1])


HANGING = """
import os, time
from colorgan.training.step import Pix2Pix
step = Pix2Pix.train_step
def hangs(self, input, target, iteration=0):
    if iteration == 7:
        open("hangs", "w").close()
        time.sleep(60)
    return step(self, input, target, iteration)
Pix2Pix.train_step = hangs
"""


def test_a_second_signal_ends_it_at_once(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place
) -> None:
    params = place.folder / "params.yaml"
    params.write_text(
        params.read_text().replace("checkpoint_iterations: 0", "checkpoint_iterations: 3")
    )
    with nursery.new_runs() as new_runs:
        life = nursery.start(place, before=HANGING)
        wait_for(lambda: (place.folder / "hangs").exists() or life.ended())
        life.signal(signal.SIGTERM)
        time.sleep(0.3)
        assert not life.ended()
        life.signal(signal.SIGTERM)
        assert life.wait(20) == 143, life.said
        assert [run.info.status for run in new_runs()] == ["KILLED"]
        # What the next one goes on from is the one before.
        assert position(place) == (6, 1)
        goes_on(nursery, place, 6, unbroken[1])
        assert [run.info.status for run in new_runs()] == ["FINISHED"]


def test_a_signal_before_training_begins(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], place: Place
) -> None:
    """While the store is opened it is noted; the first iteration is the only one."""
    slow = (
        "import time\n"
        "from colorgan.training import train\n"
        "open_recorder = train.open_recorder\n"
        "def slow(run):\n"
        "    open('opening', 'w').close()\n"
        "    time.sleep(0.5)\n"
        "    return open_recorder(run)\n"
        "train.open_recorder = slow\n"
    )
    life = nursery.start(place, before=slow)
    wait_for(lambda: (place.folder / "opening").exists() or life.ended())
    life.signal(signal.SIGINT)
    assert life.wait(20) == 130, life.said
    assert stopped_at(life.said, 40) == 1
    goes_on(nursery, place, 1, unbroken[1])


# --- the wish itself ---


@pytest.fixture
def handlers() -> Iterator[dict[int, Any]]:
    """The handlers of this process, put back in the end."""
    before = {number: signal.getsignal(number) for number in CODES}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", CODES, ids=str)
def test_a_wish_is_noted_and_fulfilled_where_it_is_checked(
    handlers: dict[int, Any], number: signal.Signals
) -> None:
    with StopSignal() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        assert stop.received == number
        with pytest.raises(Stopped):
            stop.check()
        with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
            stop.stop()
    assert isinstance(ended.value, KeyboardInterrupt) or ended.value.code == 143
    assert {number: signal.getsignal(number) for number in CODES} == handlers


def test_a_second_one_is_not_waited_for(handlers: dict[int, Any]) -> None:
    with StopSignal():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit, match="143"):
            os.kill(os.getpid(), signal.SIGINT)


def test_in_a_group_a_second_one_is_the_launchers(handlers: dict[int, Any]) -> None:
    """After Ctrl-C it tells each process once more what the terminal has told them all."""
    with StopSignal(patient=True) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.stop()
