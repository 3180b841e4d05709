"""The recorder and its CSV files."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from colorgan.tracking.recorder import CsvSink, Recorder, Status


class Memory:
    """A sink that remembers how it was closed."""

    def __init__(self, fails: bool = False) -> None:
        self.closed: list[Status] = []
        self.fails = fails

    def close(self, status: Status) -> None:
        self.closed.append(status)
        if self.fails:
            raise OSError("disk full")


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "lab" / "losses.csv"


@pytest.fixture
def sink(losses: Path) -> CsvSink:
    return CsvSink(losses, losses.with_name("validation.csv"))


def test_csv_is_complete_and_the_same_bytes_each_time(sink: CsvSink, losses: Path) -> None:
    sink.log_losses(10, 1, {"d": 0.6931471805599453, "l1": 12.0})
    sink.log_losses(20, 1, {"d": 1e-9, "l1": math.nan})
    sink.log_validation(1, {"psnr": 21.5})
    sink.close("FINISHED")
    assert losses.read_bytes() == b"iteration,epoch,d,l1\n10,1,0.693147,12\n20,1,1e-09,nan\n"
    assert losses.with_name("validation.csv").read_bytes() == b"epoch,psnr\n1,21.5\n"
    assert sorted(path.name for path in losses.parent.iterdir()) == ["losses.csv", "validation.csv"]


def test_a_row_can_be_read_while_the_run_goes_on(sink: CsvSink, losses: Path) -> None:
    sink.log_losses(10, 1, {"d": 0.5})
    assert len(pd.read_csv(losses.with_name("losses.csv.part"))) == 1
    assert not losses.exists()


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_fails_leaves_the_older_file(
    sink: CsvSink, losses: Path, status: Status
) -> None:
    losses.parent.mkdir(parents=True)
    losses.write_text("older")
    sink.log_losses(10, 1, {"d": 0.5})
    sink.close(status)
    assert losses.read_text() == "older"
    assert list(losses.parent.iterdir()) == [losses]


def test_a_run_that_never_validated_leaves_an_empty_table(sink: CsvSink, losses: Path) -> None:
    sink.close("FINISHED")
    assert losses.read_text() == "iteration,epoch\n"
    assert losses.with_name("validation.csv").read_text() == "epoch\n"


def test_a_loss_that_came_later_is_refused(sink: CsvSink) -> None:
    sink.log_losses(10, 1, {"d": 0.5})
    with pytest.raises(ValueError, match="fields not in fieldnames: 'g'"):
        sink.log_losses(20, 1, {"g": 0.5})


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED"), (ValueError, "FAILED")],
)
def test_leaving_the_block_closes_with_what_became_of_the_run(
    error: type[BaseException], status: Status
) -> None:
    memory = Memory()
    with pytest.raises(error), Recorder(memory):  # type: ignore[arg-type]
        raise error
    assert memory.closed == [status]


def test_a_sink_that_fails_to_close_does_not_keep_the_others_open() -> None:
    first, broken = Memory(), Memory(fails=True)
    with pytest.raises(OSError, match="disk full"), Recorder(first, broken):  # type: ignore[arg-type]
        pass
    assert (first.closed, broken.closed) == (["FINISHED"], ["FINISHED"])


def test_a_recorder_without_sinks_keeps_nothing(tmp_path: Path) -> None:
    with Recorder() as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
    assert not (tmp_path / "reports").exists()


WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None
from pathlib import Path
from colorgan.data.arrays import DatasetInfo
from colorgan.tracking.recorder import RunDescription, open_recorder, record_results
data = DatasetInfo("lab", 64, 2, {"train": 1}, 0, "d")
with open_recorder(RunDescription("train_lab", "lab", {}, data)) as recorder:
    recorder.log_losses(10, 1, {"d": 0.5})
record_results("evaluate", "lab", "00", {"psnr": 20.0}, [Path("reports/lab/losses.csv")])
"""


def test_without_mlflow_it_records_to_csv_and_says_so(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW], capture_output=True, text=True, check=True
    )
    assert done.stderr == "mlflow is not installed: recording to CSV alone\n" * 2
    assert done.stdout == ""
    assert Path("reports/lab/losses.csv").read_text() == "iteration,epoch,d\n10,1,0.5\n"
    assert list(project.iterdir()) == []


def test_the_recorder_does_not_import_mlflow() -> None:
    code = "import sys, colorgan.tracking.recorder; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
