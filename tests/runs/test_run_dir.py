"""A training that is stopped resumes and ends as if it had never been; another one begins anew."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from torch import Tensor

from colorgan import paths
from colorgan.config import Params
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError
from colorgan.runs import run_dir
from colorgan.runs.run_dir import OTHERS_KEPT, RunDir, digest_of
from colorgan.tracking import run as run_module
from colorgan.training import train as stage
from colorgan.training.step import Pix2Pix
from kill_runs import OUTS


class Steps:
    """Counts iterations of trainings in this process, and stops one as Ctrl-C does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[int] = []
        self.stop_at: int | None = None
        train_step = Pix2Pix.train_step

        def counted(step: Pix2Pix, input: Tensor, target: Tensor, iteration: int) -> Tensor:
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


def outs() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in OUTS}


def folders() -> list[Path]:
    return [path for path in Path(".resume/train_lab").iterdir() if path.is_dir()]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_where_it_was_stopped_changes_nothing(
    steps: Steps, run: Callable[..., None], num_workers: int
) -> None:
    changes = {
        "train.jitter": 0.1,
        "train.noise": 0.1,
        "train.ema_decay": 0.9,
        "train.keep": "best",
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


def test_without_mlflow_it_resumes_too(
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


# --- what is another training ---


def change_lr(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    return {"train.lr": 0.0003}


def change_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    info = read_info(folder)
    type(info)(**{**vars(info), "digest": "1" * 64}).write(folder)
    return {}


def change_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    changed = Path("step.py")
    known = run_dir.code_files()
    (original,) = (file for file in known if file.name == "step.py")
    changed.write_text(original.read_text() + "# changed\n")
    now = [changed if file == original else file for file in known]
    monkeypatch.setattr(run_dir, "code_files", lambda: now)
    return {}


@pytest.mark.parametrize("change", [change_lr, change_data, change_code])
def test_another_training_begins_anew_and_the_old_one_can_resume(
    steps: Steps,
    run: Callable[..., None],
    change: Callable[..., dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert steps.of(run, stop_at=5) == list(range(6))
    (first,) = folders()
    folder = paths.processed("lab")
    with monkeypatch.context() as patch:
        dataset = (folder / "dataset.json").read_bytes()
        other = {"runtime.progress": "lines", **change(folder, patch)}
        assert steps.of(run, "lab", other) == list(range(10))
        (folder / "dataset.json").write_bytes(dataset)
    checkpoint = first.resolve() / "checkpoint.safetensors"
    said = f"train lab: begins anew: {checkpoint} is of other parameters, data or code\n"
    assert said in capsys.readouterr().out
    assert steps.of(run) == [6, 7, 8, 9]


def test_another_kind_of_device_is_another_training(make_params: Callable[..., Params]) -> None:
    cfg = make_params({}).lab
    digests = {digest_of(cfg, "data", "", device) for device in ("cpu", "cuda", "cpu")}
    assert len(digests) == 2


def test_what_cannot_change_a_result_is_the_same_training(
    steps: Steps, run: Callable[..., None]
) -> None:
    steps.of(run, stop_at=5)
    changes = {
        "runtime.num_workers": 2,
        "runtime.checkpoint_minutes": 9,
        "evaluate.batch_size": 3,
        "logging.log_every": 3,
        "logging.sample_every": 1,
    }
    assert steps.of(run, "lab", changes) == [6, 7, 8, 9]


# --- the folder ---


def test_results_are_put_out_again_without_training(
    steps: Steps, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    steps.of(run)
    before = outs()
    shutil.rmtree("models")
    shutil.rmtree("reports")
    # As a kill leaves them while results are put out.
    for left in ("models/.lab.x.part", "models/.lab.x.old", "reports/lab/.losses.csv.7.part"):
        Path(left).mkdir(parents=True)
    capsys.readouterr()
    assert steps.of(run, "lab", {"runtime.progress": "lines"}) == []
    assert outs() == before
    assert not [*Path().rglob("*.part"), *Path().rglob("*.old")]
    assert capsys.readouterr().out == (
        "train lab: was trained to the end already, with these parameters, data and code: its "
        f"results are put out again (remove {folders()[0].resolve()} to train anew)\n"
    )


def test_what_a_kill_left_half_written_is_removed(steps: Steps, run: Callable[..., None]) -> None:
    steps.of(run, stop_at=5)
    (folder,) = folders()
    (folder / ".checkpoint.safetensors.1.part").write_bytes(b"half")
    (folder / ".finished.abc.part").mkdir()
    steps.of(run)
    assert not list(Path().rglob("*.part"))


def test_the_newest_other_trainings_are_kept(steps: Steps, run: Callable[..., None]) -> None:
    """And those in which another process trains."""
    steps.of(run, stop_at=5)
    (first,) = folders()
    old = [first.with_name(f"old{i}") for i in range(OTHERS_KEPT + 2)]
    for i, folder in enumerate([*old, first]):
        folder.mkdir(exist_ok=True)
        os.utime(folder, (i, i))
    with FileLock(old[0] / "lock"):
        os.utime(old[0], (0, 0))
        steps.of(run, "lab", {"train.seed": 2})
    kept = {folder.name for folder in folders()}
    assert len(kept) == OTHERS_KEPT + 2
    assert {old[0].name, first.name} < kept
    assert old[1].name not in kept
    assert steps.of(run) == [6, 7, 8, 9]


def test_the_token_stays(tmp_path: Path) -> None:
    token = RunDir(tmp_path).token()
    assert len(token) == 32
    assert RunDir(tmp_path).token() == token


def test_one_training_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_dir, "LOCK_SECONDS", 0.1)
    folder = RunDir(tmp_path)
    with folder.locked("lab"):
        with pytest.raises(ColorganError) as refused, RunDir(tmp_path).locked("lab"):
            pass
        pid = os.getpid()
        assert str(refused.value) == (
            f"process {pid} is training lab with these parameters and data already, in {tmp_path}: "
            f"wait for it, or stop it with `kill {pid}`"
        )
    with folder.locked("lab"):
        pass
