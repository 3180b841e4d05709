"""losses.csv and validation.csv: written a row at a time, cut back to the checkpoint on resume."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from PIL import Image

from colorgan import io

LOSSES = "losses.csv"
VALIDATION = "validation.csv"


class CsvSink:
    """Writes losses and validation metrics to a CSV file each; a row can be read at once."""

    def __init__(self, losses: Path, validation: Path, iteration: int = 0, epoch: int = 0) -> None:
        """Go on with these files from a checkpoint, or begin them.

        Args:
            losses: the file of the losses.
            validation: the file of the validation metrics.
            iteration: finished iterations of the checkpoint; later rows are removed. 0 removes all.
            epoch: validated epochs of the checkpoint.
        """
        # Epoch 0 validates the initial weights, and a training that begins anew does it again.
        begins = iteration == 0
        self._losses = _Table(losses, ("iteration", "epoch"), -1 if begins else iteration)
        self._validation = _Table(validation, ("epoch",), -1 if begins else epoch)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Add a row of losses."""
        self._losses.add({"iteration": iteration, "epoch": epoch}, losses)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add a row of validation metrics."""
        self._validation.add({"epoch": epoch}, metrics)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Do nothing: a CSV file holds no pictures."""

    def log_model(self, folder: Path, sha256: str) -> None:
        """Do nothing: the weights are an out of their own."""

    def close(self, status: str) -> None:
        """Close both files; a finished run has both, if need be with a header alone."""
        for table in (self._losses, self._validation):
            table.close(status == "FINISHED")


class _Table:
    """A CSV file whose columns are those of its first row."""

    def __init__(self, path: Path, steps: tuple[str, ...], last: int) -> None:
        """Keep the rows up to step `last`, which is the first column."""
        self._path = path
        self._steps = steps
        self._file: tuple[TextIO, csv.DictWriter[str]] | None = None
        rows = [row for row in read_rows(path)[0] if int(row[steps[0]]) <= last]
        if not rows:
            path.unlink(missing_ok=True)
            return
        with io.file_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self._file = self._open(list(rows[0]))

    def add(self, steps: Mapping[str, int], values: Mapping[str, float]) -> None:
        file, writer = self._file or self._begin(values)
        # Six digits are more than a loss means.
        writer.writerow({**steps, **{name: f"{value:.6g}" for name, value in values.items()}})
        file.flush()

    def close(self, finished: bool) -> None:
        if finished and not self._file:
            # DVC expects both files, also from a run that never validated.
            self._begin({})
        if self._file:
            self._file[0].close()

    def _begin(self, values: Mapping[str, float]) -> tuple[TextIO, csv.DictWriter[str]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = file, writer = self._open([*self._steps, *values])
        writer.writeheader()
        file.flush()
        return self._file

    def _open(self, columns: list[str]) -> tuple[TextIO, csv.DictWriter[str]]:
        file = self._path.open("a", encoding="utf-8", newline="")
        return file, csv.DictWriter(file, columns, lineterminator="\n")


def read_rows(path: Path, start: int = 0) -> tuple[list[dict[str, str]], int]:
    """Return the rows from byte `start` on, and the byte at which the next one will begin.

    A row that is not written whole yet is left for the next time; one that a kill has cut short
    and that others follow is left out.
    """
    if not path.exists():
        return [], start
    with path.open("rb") as file:
        header = file.readline()
        file.seek(max(start, len(header)))
        lines = file.read()
        end = file.tell()
    whole, _, rest = lines.rpartition(b"\n")
    if not whole:
        return [], start
    first, *others = (header + whole).decode("utf-8", errors="replace").splitlines()
    columns = first.split(",")
    split = [line.split(",") for line in others]
    whole_rows = [row for row in split if len(row) == len(columns) and row[0].isdecimal()]
    return [dict(zip(columns, row, strict=True)) for row in whole_rows], end - len(rest)
