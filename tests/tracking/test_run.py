"""The recorder and its CSV files."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from colorgan.tracking.run import CsvSink, Recorder, Status


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
    return tmp_path / "training" / "losses.csv"


@pytest.fixture
def open_csv(losses: Path) -> Callable[..., CsvSink]:
    """Return a function that opens both files at a checkpoint."""
    return lambda *at: CsvSink(losses, losses.with_name("validation.csv"), *at)


@pytest.fixture
def sink(open_csv: Callable[..., CsvSink]) -> CsvSink:
    return open_csv()


def test_csv_is_complete_and_the_same_bytes_each_time(sink: CsvSink, losses: Path) -> None:
    sink.log_losses(10, 1, {"d": 0.6931471805599453, "l1": 12.0})
    sink.log_losses(20, 1, {"d": 1e-9, "l1": math.nan})
    sink.log_validation(1, {"psnr": 21.5})
    sink.close("FINISHED")
    assert losses.read_bytes() == b"iteration,epoch,d,l1\n10,1,0.693147,12\n20,1,1e-09,nan\n"
    assert losses.with_name("validation.csv").read_bytes() == b"epoch,psnr\n1,21.5\n"
    assert sorted(path.name for path in losses.parent.iterdir()) == ["losses.csv", "validation.csv"]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", None])
def test_a_row_can_be_read_at_once_and_stays(
    sink: CsvSink, losses: Path, status: Status | None
) -> None:
    sink.log_losses(10, 1, {"d": 0.5})
    if status:
        sink.close(status)
    assert losses.read_text() == "iteration,epoch,d\n10,1,0.5\n"


@pytest.mark.parametrize(("status", "there"), [("FINISHED", True), ("KILLED", False)])
def test_a_run_that_never_validated_leaves_an_empty_table_if_it_finished(
    sink: CsvSink, losses: Path, status: Status, there: bool
) -> None:
    sink.close(status)
    assert losses.exists() == losses.with_name("validation.csv").exists() == there
    if there:
        assert losses.read_text() == "iteration,epoch\n"
        assert losses.with_name("validation.csv").read_text() == "epoch\n"


def test_going_on_cuts_the_files_back_to_the_checkpoint(
    open_csv: Callable[..., CsvSink], losses: Path
) -> None:
    whole = ""
    first = open_csv()
    for iteration in (10, 20, 30, 40):
        first.log_losses(iteration, iteration // 20, {"d": 1 / iteration})
        first.log_validation(iteration // 10, {"psnr": iteration})
        whole = losses.read_text()
    again = open_csv(20, 1)
    assert losses.read_text() == "".join(whole.splitlines(keepends=True)[:3])
    assert losses.with_name("validation.csv").read_text() == "epoch,psnr\n1,10\n"
    for iteration in (30, 40):
        again.log_losses(iteration, iteration // 20, {"d": 1 / iteration})
    again.close("FINISHED")
    assert losses.read_text() == whole
    assert len(list(losses.parent.iterdir())) == 2


def test_the_validation_of_the_first_weights_outlives_a_kill_in_the_first_epoch(
    open_csv: Callable[..., CsvSink], losses: Path
) -> None:
    validation = losses.with_name("validation.csv")
    open_csv().log_validation(0, {"psnr": 20})
    open_csv(10, 0)
    assert validation.read_text() == "epoch,psnr\n0,20\n"
    open_csv(0, 0)
    assert not validation.exists()


@pytest.mark.parametrize("cut", range(len("iteration,epoch,d\n10,1,0.5\n20,1,0.25\n") + 1))
def test_a_file_cut_short_at_any_byte_goes_on(
    open_csv: Callable[..., CsvSink], losses: Path, cut: int
) -> None:
    rows = ["iteration,epoch,d\n", "10,1,0.5\n", "20,1,0.25\n"]
    losses.parent.mkdir()
    losses.write_text("".join(rows)[:cut])
    whole = sum(cut >= sum(map(len, rows[: n + 1])) for n in range(3))
    sink = open_csv(20, 0)
    sink.log_losses(30, 2, {"d": 0.125})
    assert losses.read_text() == "".join([*rows[: max(whole, 1)], "30,2,0.125\n"])


def test_a_row_that_lacks_a_value_is_left_out(
    open_csv: Callable[..., CsvSink], losses: Path
) -> None:
    losses.parent.mkdir()
    losses.write_text("iteration,epoch,d,l1\n10,1,0.5\n20,1,0.5,3\n")
    open_csv(30, 1)
    assert losses.read_text() == "iteration,epoch,d,l1\n20,1,0.5,3\n"


def test_a_training_that_begins_anew_forgets_the_old_files(
    open_csv: Callable[..., CsvSink], losses: Path
) -> None:
    losses.parent.mkdir()
    losses.write_text("iteration,epoch,old\n0,1,1\n10,1,1\n")
    open_csv(0, 0).log_losses(10, 1, {"new": 2})
    assert losses.read_text() == "iteration,epoch,new\n10,1,2\n"


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


def test_a_recorder_without_sinks_keeps_nothing() -> None:
    with Recorder() as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
    assert list(Path.cwd().iterdir()) == []


WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None
from pathlib import Path
from colorgan.data.arrays import DatasetInfo
from colorgan.tracking.run import RunDescription, mark_killed, open_recorder, record_results
data = DatasetInfo("lab", 64, 2, {"train": 1}, 0, "d")
run = RunDescription("train_lab", "lab", {}, data, folder=Path("training"), token="0" * 32)
with open_recorder(run) as recorder:
    recorder.log_losses(10, 1, {"d": 0.5})
record_results("evaluate", "lab", "00", {"psnr": 20.0}, [Path("training/losses.csv")])
mark_killed("0" * 32)
"""


def test_without_mlflow_it_records_to_csv_and_says_so(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MLFLOW], capture_output=True, text=True, check=True
    )
    assert done.stderr == "mlflow is not installed: recording to CSV and JSON alone\n" * 2
    assert done.stdout == ""
    assert Path("training/losses.csv").read_text() == "iteration,epoch,d\n10,1,0.5\n"
    assert list(project.iterdir()) == []


def test_the_recorder_does_not_import_mlflow() -> None:
    code = "import sys, colorgan.tracking.run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
