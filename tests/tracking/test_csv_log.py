"""losses.csv and validation.csv, row by row and after a kill."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from colorgan.tracking.csv_log import CsvSink, read_rows

Open = Callable[..., CsvSink]


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    return tmp_path / "training" / "losses.csv"


@pytest.fixture
def validation(losses: Path) -> Path:
    return losses.with_name("validation.csv")


@pytest.fixture
def open_csv(losses: Path, validation: Path) -> Open:
    """Return a function that opens both files at a checkpoint."""
    return lambda *at: CsvSink(losses, validation, *at)


def test_csv_is_complete_and_the_same_bytes_each_time(
    open_csv: Open, losses: Path, validation: Path
) -> None:
    sink = open_csv()
    sink.log_losses(10, 1, {"d": 0.6931471805599453, "l1": 12.0})
    sink.log_losses(20, 1, {"d": 1e-9, "l1": math.nan})
    sink.log_validation(1, {"psnr": 21.5})
    sink.close("FINISHED")
    assert losses.read_bytes() == b"iteration,epoch,d,l1\n10,1,0.693147,12\n20,1,1e-09,nan\n"
    assert validation.read_bytes() == b"epoch,psnr\n1,21.5\n"
    assert sorted(path.name for path in losses.parent.iterdir()) == ["losses.csv", "validation.csv"]


@pytest.mark.parametrize("status", ["FAILED", "KILLED", None])
def test_a_row_can_be_read_at_once_and_stays(
    open_csv: Open, losses: Path, status: str | None
) -> None:
    sink = open_csv()
    sink.log_losses(10, 1, {"d": 0.5})
    if status:
        sink.close(status)
    assert losses.read_text() == "iteration,epoch,d\n10,1,0.5\n"


@pytest.mark.parametrize(("status", "there"), [("FINISHED", True), ("KILLED", False)])
def test_a_run_that_never_validated_leaves_an_empty_table_if_it_finished(
    open_csv: Open, losses: Path, validation: Path, status: str, there: bool
) -> None:
    open_csv().close(status)
    assert losses.exists() == validation.exists() == there
    if there:
        assert losses.read_text() == "iteration,epoch\n"
        assert validation.read_text() == "epoch\n"


def test_resuming_cuts_the_files_back_to_the_checkpoint(
    open_csv: Open, losses: Path, validation: Path
) -> None:
    first = open_csv()
    for iteration in (10, 20, 30, 40):
        first.log_losses(iteration, iteration // 20, {"d": 1 / iteration})
        first.log_validation(iteration // 10, {"psnr": iteration})
    whole = losses.read_text()
    again = open_csv(20, 1)
    assert losses.read_text() == "".join(whole.splitlines(keepends=True)[:3])
    assert validation.read_text() == "epoch,psnr\n1,10\n"
    for iteration in (30, 40):
        again.log_losses(iteration, iteration // 20, {"d": 1 / iteration})
    again.close("FINISHED")
    assert losses.read_text() == whole
    assert len(list(losses.parent.iterdir())) == 2


def test_the_validation_of_the_initial_weights_outlives_a_kill_in_the_first_epoch(
    open_csv: Open, validation: Path
) -> None:
    open_csv().log_validation(0, {"psnr": 20})
    open_csv(10, 0)
    assert validation.read_text() == "epoch,psnr\n0,20\n"
    open_csv(0, 0)
    assert not validation.exists()


@pytest.mark.parametrize("cut", range(0, len("iteration,epoch,d\n10,1,0.5\n20,1,0.25\n") + 1, 3))
def test_a_file_cut_short_at_any_byte_goes_on(open_csv: Open, losses: Path, cut: int) -> None:
    rows = ["iteration,epoch,d\n", "10,1,0.5\n", "20,1,0.25\n"]
    losses.parent.mkdir()
    losses.write_text("".join(rows)[:cut])
    whole = sum(cut >= sum(map(len, rows[: n + 1])) for n in range(3))
    assert len(read_rows(losses)[0]) == max(whole - 1, 0)
    open_csv(20, 0).log_losses(30, 2, {"d": 0.125})
    assert losses.read_text() == "".join([*rows[: max(whole, 1)], "30,2,0.125\n"])


def test_a_row_that_lacks_a_value_is_left_out(open_csv: Open, losses: Path) -> None:
    losses.parent.mkdir()
    losses.write_text("iteration,epoch,d,l1\n10,1,0.5\n20,1,0.5,3\n")
    open_csv(30, 1)
    assert losses.read_text() == "iteration,epoch,d,l1\n20,1,0.5,3\n"


def test_a_training_that_begins_anew_removes_the_old_rows(open_csv: Open, losses: Path) -> None:
    losses.parent.mkdir()
    losses.write_text("iteration,epoch,old\n0,1,1\n10,1,1\n")
    open_csv(0, 0).log_losses(10, 1, {"new": 2})
    assert losses.read_text() == "iteration,epoch,new\n10,1,2\n"


def test_a_loss_that_came_later_is_refused(open_csv: Open) -> None:
    sink = open_csv()
    sink.log_losses(10, 1, {"d": 0.5})
    with pytest.raises(ValueError, match="fields not in fieldnames: 'g'"):
        sink.log_losses(20, 1, {"g": 0.5})


def test_rows_are_read_as_they_come(open_csv: Open, losses: Path) -> None:
    assert read_rows(losses) == ([], 0)
    sink = open_csv()
    sink.log_losses(10, 1, {"d": 0.5})
    rows, end = read_rows(losses)
    assert rows == [{"iteration": "10", "epoch": "1", "d": "0.5"}]
    assert read_rows(losses, end) == ([], end)
    with losses.open("a") as file:
        file.write("20,1,")
    assert read_rows(losses, end) == ([], end)
    with losses.open("a") as file:
        file.write("0.25\n")
    assert read_rows(losses, end)[0] == [{"iteration": "20", "epoch": "1", "d": "0.25"}]
