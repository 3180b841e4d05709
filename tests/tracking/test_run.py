"""The recorder, with and without MLflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from colorgan.tracking.run import Recorder


class Memory:
    """A sink that remembers how it was closed."""

    def __init__(self, fails: bool = False) -> None:
        self.closed: list[str] = []
        self.fails = fails

    def close(self, status: str) -> None:
        self.closed.append(status)
        if self.fails:
            raise OSError("disk full")


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED"), (ValueError, "FAILED")],
)
def test_leaving_the_block_closes_with_what_became_of_the_run(
    error: type[BaseException], status: str
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


def test_a_recorder_without_sinks_records_nothing() -> None:
    with Recorder() as recorder:
        recorder.log_losses(1, 1, {"d": 0.5})
    assert list(Path.cwd().iterdir()) == []


WITHOUT_MLFLOW = """
import sys
sys.modules["mlflow"] = None
from pathlib import Path
from colorgan.data.arrays import DatasetInfo
from colorgan.tracking.run import RunDescription, open_recorder, record_results, send_unsent
data = DatasetInfo("lab", 64, 2, {"train": 1}, 0, "d")
run = RunDescription("train_lab", "lab", {}, data, folder=Path("training"), token="0" * 32)
send_unsent()
with open_recorder(run) as recorder:
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


def test_the_recorder_does_not_import_mlflow() -> None:
    code = "import sys, colorgan.tracking.run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
