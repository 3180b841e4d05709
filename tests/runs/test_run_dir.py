"""A training that is stopped resumes and ends as if it had never been; another one begins anew."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.runs import run_dir
from colorgan.runs.run_dir import RunDir
from colorgan.runs.runtime import Group, Runtime
from colorgan.training.step import TrainingStep
from colorgan.training.validate import Validator
from kill_runs import OUTS


class Steps:
    """Counts iterations of trainings in this process, and stops one as Ctrl-C does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[int] = []
        self.stop_at: int | None = None
        train_step = TrainingStep.train_step

        def counted(step: TrainingStep, input: Tensor, target: Tensor, iteration: int) -> Tensor:
            self.done.append(iteration)
            if iteration == self.stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            return train_step(step, input, target, iteration)

        monkeypatch.setattr(TrainingStep, "train_step", counted)

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


def checkpoint_of(folder: Path) -> Path:
    return folder.resolve() / "checkpoint.safetensors"


def folders() -> list[Path]:
    return [path for path in Path(".resume/train_lab").iterdir() if path.is_dir()]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_where_it_was_stopped_changes_nothing(steps, run, num_workers) -> None:
    changes = {
        "train.jitter": 0.1,
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


def test_a_signal_in_the_last_validation_stops_it_too(steps, run, monkeypatch) -> None:
    """Where nothing is trained any more: DVC shall not go on to the next stage."""
    steps.of(run)
    unbroken = outs()
    shutil.rmtree(".resume")
    epochs: list[dict[str, float]] = []
    validate = Validator.__call__

    def interrupted(*given: Any) -> dict[str, float]:
        epochs.append(validate(*given))
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return epochs[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Validator, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert steps.of(run) == []
    assert outs() == unbroken


# --- what is another training ---


def test_what_makes_another_training(make_params, monkeypatch, tmp_path) -> None:
    def digest(
        changes: dict[str, object] | None = None, data: str = "", init: str = "", **machine: Any
    ) -> str:
        device = torch.device("cpu")
        runtime = Runtime(**{"device": device, "precision": "off", "compile": "off", **machine})
        return run_dir.digest_of(make_params(changes or {}).lab, data, init, runtime)

    found = [digest(), digest({"train.lr": 0.3}), digest(data="d"), digest(init="i")]
    found += [digest(device=torch.device("cuda")), digest(precision="bf16")]
    found += [digest(compile="default")]
    assert digest(group=Group(0, 0, 2)) == digest({"runtime.num_workers": 2}) == found[0]
    changed = tmp_path / "step.py"
    changed.write_text("# changed")
    known = [changed if file.name == changed.name else file for file in run_dir.code_files()]
    monkeypatch.setattr(run_dir, "code_files", lambda: known)
    assert len({*found, digest()}) == len(found) + 1


def test_another_training_begins_anew_and_the_old_one_can_resume(steps, run, capsys) -> None:
    assert steps.of(run, stop_at=5) == list(range(6))
    checkpoint = checkpoint_of(folders()[0])
    assert steps.of(run, "lab", {"train.lr": 0.0003}) == list(range(10))
    said = f"begins anew: {checkpoint} is of other parameters, data or code\n"
    assert f"train lab: {said}" in capsys.readouterr().out
    assert steps.of(run) == [6, 7, 8, 9]


def test_a_damaged_checkpoint_is_said_and_training_begins_anew(steps, run, capsys) -> None:
    steps.of(run)
    unbroken = outs()
    shutil.rmtree(".resume")
    steps.of(run, stop_at=5)
    checkpoint = checkpoint_of(folders()[0])
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    capsys.readouterr()
    assert steps.of(run) == list(range(10))
    said = capsys.readouterr().err
    assert said.startswith(f"train lab: {checkpoint} is not a whole checkpoint (")
    assert said.endswith("): training begins anew\n")
    assert said.count("\n") == 1
    assert outs() == unbroken


def test_another_torch_or_number_of_processes_is_said(steps, run, monkeypatch, capsys) -> None:
    steps.of(run, stop_at=5)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    capsys.readouterr()
    assert steps.of(run) == [6, 7, 8, 9]
    assert re.fullmatch(
        r"train lab: the checkpoint is of torch \S+, 1 process\(es\), this is torch 9.9.9, 1 "
        r"process\(es\): the weights may differ from those of an unbroken training\n",
        capsys.readouterr().err,
    )


# --- the folder ---


def test_results_are_put_out_again_without_training(steps, run, capsys) -> None:
    steps.of(run)
    before = outs()
    shutil.rmtree("models")
    shutil.rmtree("reports")
    # As a kill leaves them while results are put out.
    for left in ("models/.lab.x.part", "models/.lab.x.old", "reports/lab/.losses.csv.7.part"):
        Path(left).mkdir(parents=True)
    capsys.readouterr()
    assert steps.of(run) == []
    assert outs() == before
    assert not [*Path().rglob("*.part"), *Path().rglob("*.old")]
    assert capsys.readouterr().out == (
        "train lab: was trained to the end already, with these parameters, data and code: its "
        f"results are copied again (remove {folders()[0].resolve()} to train anew)\n"
    )


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


def test_the_newest_other_trainings_are_kept(tmp_path: Path) -> None:
    for age in range(8):
        os.utime(RunDir(tmp_path / str(age)).path, (1e9 - age, 1e9 - age))
    own = RunDir(tmp_path / "own")
    with RunDir(tmp_path / "7").locked("lab"):
        with own.locked("rgb"):
            pass
        left = {folder.name for folder in tmp_path.iterdir()}
    assert {"own", "7"} < left, "a folder that is in use stays"
    assert len(left) <= 2 + run_dir.OTHERS_KEPT
