"""A training that is killed goes on and ends as if it had never been; another begins anew."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kill_runs import (
    EAGER,
    OUTS,
    WEIGHTS,
    Nursery,
    Place,
    make_place,
    nursery_of_all,
    pictures,
    wait_for,
)
from torch import Tensor

from colorgan import io, paths
from colorgan.config import Params
from colorgan.data.arrays import read_info
from colorgan.runs import resume
from colorgan.runs.resume import ResumeFolder
from colorgan.tracking import run as run_module
from colorgan.training import train as stage
from colorgan.training.step import Pix2Pix

KILLS, FINISHING = 30, 6


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    return nursery_of_all(tmp_path_factory)


# --- thirty kills ---


@pytest.mark.slow
def test_thirty_kills_leave_no_trace(nursery: Nursery, tmp_path: Path) -> None:
    """At the start, in training, checkpoints, recording, validation, and while it finishes."""
    changes = {
        "train.epochs": 15,
        "train.decay_epochs": 5,
        "train.ema_decay": 0.9,
        "logging.log_every": 1,
        "logging.sample_every": 5,
        "runtime.checkpoint_iterations": 5,
    }
    unbroken = make_place(tmp_path / "unbroken", changes, train=80)
    killed = Place(shutil.copytree(unbroken.folder, tmp_path / "killed") and tmp_path / "killed")
    total = 15 * 20
    # The first start of all creates the store, the second one is as all others.
    nursery.train(make_place(tmp_path / "first", {"train.epochs": 1}), before=EAGER)
    seconds = timed(nursery, unbroken, total)
    with nursery.new_runs() as new_runs:
        history = kill_thirty_times(nursery, killed, total, *seconds)
        said = nursery.train(killed, before=EAGER)
        runs = new_runs()
    explained = f"{history}\n{said}"
    ends = [code for _, code in history]
    assert ends.count(-signal.SIGKILL) == KILLS, explained
    assert killed.outs() == unbroken.outs(), explained
    assert killed.half_written() == []

    (run,) = runs
    assert run.info.status == "FINISHED"
    (whole,) = (r for r in nursery.runs() if r.data.tags["colorgan.training"] == unbroken.token)
    assert run.data.tags["colorgan.training"] == killed.token
    histories = nursery.histories(run)
    assert histories == nursery.histories(whole), explained
    assert [step for step, _ in histories["train/loss_D"]] == list(range(1, total + 1))
    assert pictures(run) == pictures(whole)
    assert {len(files) for files in pictures(run).values()} == {1}
    weights = (killed.folder / "models/lab" / WEIGHTS).read_bytes()
    client = nursery.client()
    logged = [file.path for file in client.list_artifacts(run.info.run_id, "model")]
    assert sorted(logged) == ["model/config.json", f"model/{WEIGHTS}"]
    model = Path(client.download_artifacts(run.info.run_id, "model", str(tmp_path)))
    assert (model / WEIGHTS).read_bytes() == weights


def timed(nursery: Nursery, place: Place, total: int) -> tuple[float, float, float]:
    """Train without a kill; seconds to the first iteration, for each, from the last to the end."""
    began = time.monotonic()
    life = nursery.start(place, before=EAGER)
    wait_for(lambda: place.iteration() or life.ended())
    first = time.monotonic()
    wait_for(lambda: place.iteration() == total or life.ended())
    last = time.monotonic()
    assert life.wait() == 0, life.said
    return first - began, (last - first) / total, time.monotonic() - last


def kill_thirty_times(
    nursery: Nursery, place: Place, total: int, start: float, step: float, finish: float
) -> list[tuple[str, int]]:
    """Kill a training at random moments all over its course; when each was, and the exit codes.

    Where it has come to is watched, so that a slow machine does not put all kills at the start.
    """
    history: list[tuple[str, int]] = []
    for number in range(KILLS):
        while True:
            life = nursery.start(place, before=EAGER)
            if number >= KILLS - FINISHING:
                wait_for(lambda: place.iteration() == total or life.ended())  # noqa: B023
                delay, what = random.uniform(0, finish), "while it finishes"
            elif number % 4 == 0:
                delay, what = random.uniform(0, 1.5 * start), "while it starts"
            else:
                wanted = total * (number + random.random()) / (KILLS - FINISHING + 1)
                wait_for(lambda: place.iteration() >= wanted or life.ended())  # noqa: B023
                delay, what = random.uniform(0, 8 * step), f"after iteration {wanted:.0f}"
            end = time.monotonic() + delay
            wait_for(lambda: time.monotonic() > end or life.ended(), every=0.001)  # noqa: B023
            history.append((f"{delay:.3f} s {what}", life.kill()))
            if life.code == -signal.SIGKILL:
                break
            # It was faster than the kill: another life has to die in its stead.
            assert life.code == 0, life.said
            finish /= 2
    return history


# --- kills at the moments that matter, one life each ---

AT_ONCE = "import os, signal; kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
MOMENTS = {
    "the model is not recorded": "from colorgan.tracking.run import Recorder as place\n"
    "place.log_model = kill",
    "all is recorded, which is not noted": "from colorgan.runs.resume import ResumeFolder\n"
    "ResumeFolder.finish = kill",
    "the outs are not there": "from colorgan.runs.resume import ResumeFolder\n"
    "ResumeFolder.put_out = kill",
    "half of the outs are there": "import shutil\n"
    "copy = shutil.copyfile\n"
    "shutil.copyfile = lambda a, *b, **c: (\n"
    "    kill() if str(a).endswith('losses.csv') else copy(a, *b, **c))",
}


@pytest.fixture(scope="module")
def unbroken(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, dict[str, bytes]]:
    """A place as it was before the training, and the outs of an unbroken training."""
    folder = tmp_path_factory.mktemp("unbroken")
    place = make_place(folder / "before", {"runtime.checkpoint_iterations": 3, "train.epochs": 3})
    trained = Place(Path(shutil.copytree(place.folder, folder / "after")))
    nursery.train(trained)
    return place, trained.outs()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_near_the_end(
    nursery: Nursery, unbroken: tuple[Place, dict[str, bytes]], tmp_path: Path, moment: str
) -> None:
    before, outs = unbroken
    place = Place(Path(shutil.copytree(before.folder, tmp_path / "place")))
    with nursery.new_runs() as new_runs:
        life = nursery.start(place, before=AT_ONCE + MOMENTS[moment])
        assert life.wait() == -signal.SIGKILL, life.said
        # DVC deletes the outs before it runs the stage again.
        shutil.rmtree(place.folder / "models", ignore_errors=True)
        shutil.rmtree(place.folder / "reports", ignore_errors=True)
        said = nursery.train(place)
        (run,) = new_runs()
    assert place.outs() == outs
    assert place.half_written() == []
    if "outs" in moment:
        assert "iteration" not in said
        assert said.startswith(
            "train lab: was trained to the end already, with these parameters, data and code: its "
            "results are put out again (remove "
        )
    else:
        # 12 where the kill came before the thread had written the checkpoint of 15.
        assert re.search("train lab: goes on from iteration (12|15) of 15", said)
    assert run.info.status == "FINISHED"
    assert run.data.tags["colorgan.generator_sha256"] == io.sha256(
        place.folder / "models/lab" / WEIGHTS
    )
    assert [s for s, _ in nursery.histories(run)["train/loss_D"]] == [2, 4, 6, 8, 10, 12, 14, 15]


def test_a_training_that_another_replaced_before_its_first_checkpoint_is_marked_killed(
    nursery: Nursery, tmp_path: Path
) -> None:
    place = make_place(tmp_path / "place", {"train.epochs": 1})
    at_5 = "from colorgan.training.trainer import Trainer\n" + AT_ONCE
    at_5 += "log = Trainer._log\n"
    at_5 += "Trainer._log = lambda s, i, *g: kill() if i == 4 else log(s, i, *g)"
    with nursery.new_runs() as new_runs:
        assert nursery.start(place, before=at_5).wait() == -signal.SIGKILL
        (run,) = new_runs()
        assert run.info.status == "RUNNING"
        params = place.folder / "params.yaml"
        params.write_text(params.read_text().replace("lr: 0.0002", "lr: 0.0003"))
        nursery.train(place)
        statuses = sorted(run.info.status for run in new_runs())
    assert statuses == ["FINISHED", "KILLED"]
    assert place.resume.is_dir()  # the only one


# --- what is another training ---


class Steps:
    """Counts iterations of trainings in this process, and stops one as Ctrl-C does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[int] = []
        self.stop_at: int | None = None
        train_step = Pix2Pix.train_step

        def counted(step: Pix2Pix, input: Tensor, target: Tensor, iteration: int = 0) -> Tensor:
            self.done.append(iteration)
            if iteration == self.stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            return train_step(step, input, target, iteration)

        monkeypatch.setattr(Pix2Pix, "train_step", counted)

    def of(self, train: Callable[..., None], *how: Any, stop_at: int | None = None) -> list[int]:
        """Train; the iterations that were run."""
        self.done, self.stop_at = [], stop_at
        if stop_at is None:
            train(*how)
        else:
            with pytest.raises(KeyboardInterrupt):
                train(*how)
        return self.done


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, write_arrays: Callable[..., Path]) -> Steps:
    write_arrays("lab", train=20)
    return Steps(monkeypatch)


def change_lr(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return {"train.lr": 0.0003}


def change_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    info = read_info(folder)
    type(info)(**{**vars(info), "digest": "1" * 64}).write(folder)
    return {}


def change_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    changed = Path("step.py")
    known = resume.code_files()
    (original,) = (file for file in known if file.name == "step.py")
    changed.write_text(original.read_text() + "# changed\n")
    now = [changed if file == original else file for file in known]
    monkeypatch.setattr(resume, "code_files", lambda: now)
    return {}


@pytest.mark.parametrize("change", [change_lr, change_data, change_code])
def test_another_training_begins_anew_and_the_old_one_can_go_on(
    steps: Steps,
    run: Callable[..., None],
    change: Callable[..., dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert steps.of(run, stop_at=5) == list(range(6))
    folder = paths.processed("lab")
    with monkeypatch.context() as patch:
        dataset = (folder / "dataset.json").read_bytes()
        other = change(folder, patch)
        assert steps.of(run, "lab", other) == list(range(10))
        (folder / "dataset.json").write_bytes(dataset)
    assert steps.of(run) == [6, 7, 8, 9]


def test_what_cannot_change_a_result_is_the_same_training(
    steps: Steps, run: Callable[..., None]
) -> None:
    steps.of(run, stop_at=5)
    changes = {"runtime.num_workers": 2, "runtime.checkpoint_minutes": 9, "evaluate.batch_size": 3}
    assert steps.of(run, "lab", changes) == [6, 7, 8, 9]


def folders() -> dict[str, list[str]]:
    """What each resume folder has of a checkpoint and of a finished training."""
    kept = ("checkpoint.safetensors", "finished.json")
    return {
        path.name: [name for name in kept if (path / name).exists()]
        for path in Path(".resume/train_lab").iterdir()
        if path.is_dir()
    }


def test_other_finished_trainings_are_forgotten_and_the_newest_unfinished_one_is_kept(
    steps: Steps, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    monkeypatch.setattr(stage, "mark_killed", killed.append)
    monkeypatch.setattr(stage, "BROKEN_KEPT", 1)
    steps.of(run, "lab", {"train.seed": 1})
    (finished,) = folders()
    newest: list[str] = []
    for seed in (2, 3):
        steps.of(run, "lab", {"train.seed": seed}, stop_at=5)
        newest = [name for name in folders() if name not in (finished, *newest)]
    tokens = {
        name: json.loads(Path(f".resume/train_lab/{name}/training.json").read_text())["token"]
        for name in folders()
    }
    steps.of(run, "lab", {"train.seed": 4})
    assert sorted(folders().values()) == [["checkpoint.safetensors"], ["finished.json"]]
    assert folders()[newest[-1]] == ["checkpoint.safetensors"]
    assert set(killed) <= set(tokens.values())
    assert len(set(killed)) == 2
    assert steps.of(run, "lab", {"train.seed": 3}) == [6, 7, 8, 9]


def test_a_training_that_another_process_runs_is_left_alone(
    steps: Steps, run: Callable[..., None]
) -> None:
    steps.of(run, "lab", {"train.seed": 1})
    (finished,) = folders()
    lock = resume.FileLock(Path(".resume/train_lab", finished, "lock"))
    with lock:
        steps.of(run, "lab", {"train.seed": 2})
        assert len(folders()) == 2
    steps.of(run, "lab", {"train.seed": 3})
    assert finished not in folders()


def outs() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in OUTS}


def test_another_kind_of_device_is_another_training(make_params: Callable[..., Params]) -> None:
    own = make_params({}).lab
    digests = {resume.digest_of(own, "data", "", device) for device in ("cpu", "cuda", "cpu")}
    assert len(digests) == 2


def test_results_are_put_out_again_without_training(steps: Steps, run: Callable[..., None]) -> None:
    steps.of(run)
    before = outs()
    shutil.rmtree("models")
    shutil.rmtree("reports")
    # As a kill leaves them that came at this very place.
    for left in ("models/.lab.x.part", "models/.lab.x.old", "reports/lab/.losses.csv.7.part"):
        Path(left).mkdir(parents=True)
    assert steps.of(run) == []
    assert outs() == before
    assert not [*Path().rglob("*.part"), *Path().rglob("*.old")]


def test_a_finished_model_that_was_damaged_is_trained_again(
    steps: Steps, run: Callable[..., None]
) -> None:
    steps.of(run)
    before = outs()
    (weights,) = Path().glob(f".resume/train_lab/*/finished/{WEIGHTS}")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert steps.of(run) == list(range(10))
    assert outs() == before


def test_a_model_of_another_device_is_not_put_out(tmp_path: Path) -> None:
    folder = ResumeFolder(tmp_path)
    folder.model.mkdir()
    (folder.model / WEIGHTS).write_bytes(b"weights")
    folder.finish(10, "cuda")
    assert folder.finished("cpu") is None
    assert folder.finished("cuda") == {
        "iterations": 10,
        "device": "cuda",
        "sha256": io.sha256(folder.model / WEIGHTS),
    }


@pytest.mark.parametrize("content", ["", "[]", '{"token"', "{}"])
def test_a_training_whose_name_was_cut_short_gets_another(tmp_path: Path, content: str) -> None:
    (tmp_path / "training.json").write_text(content)
    token = ResumeFolder(tmp_path).token()
    assert len(token) == 32
    assert ResumeFolder(tmp_path).token() == token


def test_what_a_kill_left_half_written_is_removed(steps: Steps, run: Callable[..., None]) -> None:
    steps.of(run, stop_at=5)
    (folder,) = (path for path in Path(".resume/train_lab").iterdir() if path.is_dir())
    (folder / ".checkpoint.safetensors.1.part").write_bytes(b"half")
    (folder / ".finished.abc.part").mkdir()
    steps.of(run)
    assert not list(Path().rglob("*.part"))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_where_it_was_stopped_does_not_tell(
    steps: Steps, run: Callable[..., None], num_workers: int
) -> None:
    changes = {
        "lab.image_size": 32,
        "train.jitter": 0.1,
        "train.noise": 0.1,
        "train.ema_decay": 0.9,
        "logging.log_every": 4,
        "runtime.num_workers": num_workers,
    }
    steps.of(run, "lab", changes)
    unbroken = outs()
    shutil.rmtree(".resume")
    for stop_at in (0, 2, 4, 5, 8):
        steps.of(run, "lab", changes, stop_at=stop_at)
        assert steps.done[-1] == stop_at
    assert steps.of(run, "lab", changes) == [9]
    assert outs() == unbroken
    losses = np.genfromtxt(paths.losses("lab"), delimiter=",", names=True)
    assert losses["iteration"].tolist() == [4, 8, 10]


def test_a_recorder_without_mlflow_still_goes_on(
    steps: Steps, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_mlflow_log", lambda: None)
    monkeypatch.setattr(stage, "open_recorder", run_module.open_recorder)
    steps.of(run)
    unbroken = outs()
    shutil.rmtree(".resume")
    steps.of(run, stop_at=6)
    steps.of(run)
    assert outs() == unbroken
