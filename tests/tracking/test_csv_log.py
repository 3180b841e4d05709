"""losses.csv and validation.csv, row by row and after a kill; without MLflow they are all."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from colorgan.tracking.csv_log import read_rows
from colorgan.tracking.run import Recorder

Open = Callable[..., Recorder]


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    return tmp_path / "training" / "losses.csv"


@pytest.fixture
def validation(losses: Path) -> Path:
    return losses.with_name("validation.csv")


@pytest.fixture
def resume(losses: Path) -> Open:
    """Return a function that opens both files at a checkpoint."""
    return lambda iteration=0, epoch=0: Recorder(losses.parent, iteration=iteration, epoch=epoch)


def test_the_files_are_complete_and_the_same_bytes_each_time(resume, losses, validation) -> None:
    with resume() as recorder:
        recorder.log_losses(10, 1, {"d": 0.6931471805599453, "l1": 12.0})
        recorder.log_losses(20, 1, {"d": 1e-9, "l1": math.nan})
        recorder.log_validation(1, {"psnr": 21.5})
    assert losses.read_bytes() == b"iteration,epoch,d,l1\n10,1,0.693147,12\n20,1,1e-09,nan\n"
    assert validation.read_bytes() == b"epoch,psnr\n1,21.5\n"
    assert sorted(path.name for path in losses.parent.iterdir()) == ["losses.csv", "validation.csv"]


def test_a_row_can_be_read_at_once_and_only_a_run_that_finished_has_empty_files(
    resume: Open, losses: Path, validation: Path
) -> None:
    with suppress(KeyboardInterrupt), resume() as recorder:
        recorder.log_losses(10, 1, {"d": 0.5})
        assert losses.read_text() == "iteration,epoch,d\n10,1,0.5\n"
        raise KeyboardInterrupt
    assert not validation.exists()
    with resume():
        pass
    assert losses.read_text() == "iteration,epoch\n"
    assert validation.read_text() == "epoch\n"


def test_resuming_cuts_the_files_back_to_the_checkpoint(resume, losses, validation) -> None:
    first = resume()
    for iteration in (10, 20, 30, 40):
        first.log_losses(iteration, iteration // 20, {"d": 1 / iteration})
        first.log_validation(iteration // 10, {"psnr": iteration})
    whole = losses.read_text()
    with resume(20, 1) as again:
        assert losses.read_text() == "".join(whole.splitlines(keepends=True)[:3])
        assert validation.read_text() == "epoch,psnr\n1,10\n"
        for iteration in (30, 40):
            again.log_losses(iteration, iteration // 20, {"d": 1 / iteration})
    assert losses.read_text() == whole
    resume().log_losses(10, 1, {"other": 2})
    assert losses.read_text() == "iteration,epoch,other\n10,1,2\n"
    assert not validation.exists()


def test_the_validation_of_the_initial_weights_outlives_a_kill_in_the_first_epoch(
    resume: Open, validation: Path
) -> None:
    resume().log_validation(0, {"psnr": 20})
    resume(10, 0)
    assert validation.read_text() == "epoch,psnr\n0,20\n"


@pytest.mark.parametrize("cut", [0, 5, 18, 23, 27, 36, 38])
def test_a_file_cut_short_at_any_byte_goes_on(resume: Open, losses: Path, cut: int) -> None:
    rows = ["iteration,epoch,d\n", "10,1,0.5\n", "20,1,0.25\n"]
    losses.parent.mkdir()
    losses.write_text("".join(rows)[:cut])
    whole = sum(cut >= sum(map(len, rows[: n + 1])) for n in range(3))
    assert len(read_rows(losses)) == max(whole - 1, 0)
    resume(20, 0).log_losses(30, 2, {"d": 0.125})
    assert losses.read_text() == "".join([*rows[: max(whole, 1)], "30,2,0.125\n"])


def test_rows_are_read_as_they_come(losses: Path) -> None:
    assert read_rows(losses) == []
    losses.parent.mkdir()
    losses.write_text("iteration,epoch,d\n10,1,0.5\n20,1,")
    assert read_rows(losses) == [{"iteration": "10", "epoch": "1", "d": "0.5"}]
    with losses.open("a") as file:
        file.write("0.25\n30,1\n")
    assert read_rows(losses, 1) == [{"iteration": "20", "epoch": "1", "d": "0.25"}]


WITHOUT_MLFLOW = """
import sys
from pathlib import Path
from colorgan.tracking.run import RunDescription, open_recorder, record_results
assert "mlflow" not in sys.modules
sys.modules["mlflow"] = None
run = RunDescription("train_lab", "0" * 32)
with open_recorder(run, Path("training")) as recorder:
    recorder.log_losses(10, 1, {"d": 0.5})
record_results("evaluate", "lab", "00", {"psnr": 20.0}, [Path("training/losses.csv")])
"""


def test_without_mlflow_it_records_to_csv_and_says_so(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW], capture_output=True, text=True, check=True
    )
    assert done.stderr == "mlflow is not installed: recording to CSV and JSON alone\n" * 2
    assert done.stdout == ""
    assert Path("training/losses.csv").read_text() == "iteration,epoch,d\n10,1,0.5\n"
    assert list(project.iterdir()) == []
