"""losses.csv and validation.csv: written a row at a time, cut back to the checkpoint on resume."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from colorgan import io

LOSSES = "losses.csv"
VALIDATION = "validation.csv"


class CsvTable:
    """A CSV file that is written row by row; each row can be read at once.

    Its columns are those of its first row.
    """

    def __init__(self, path: Path, steps: Sequence[str], last: int | None = None) -> None:
        """Open the file and remove the rows that are newer than the checkpoint.

        Args:
            path: the file, which may not exist yet.
            steps: the first columns; rows are numbered by the first of them.
            last: the last row of the checkpoint; None removes all rows.
        """
        self._path, self._steps = path, steps
        self._file: TextIO | None = None
        old = read_rows(path)[0]
        rows = [] if last is None else [row for row in old if int(row[steps[0]]) <= last]
        if not rows:
            path.unlink(missing_ok=True)
            return
        with io.file_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self._file = self._open(list(rows[0]))

    def add(self, steps: Mapping[str, int], values: Mapping[str, float]) -> None:
        """Add a row."""
        # A loss has no more than six meaningful digits.
        row = {**steps, **{name: f"{value:.6g}" for name, value in values.items()}}
        if self._file is None:
            self._file = self._open(list(row))
        self._writer.writerow(row)
        self._file.flush()

    def close(self, *, finished: bool) -> None:
        """Close the file; that of a finished run exists, if need be with a header alone."""
        if finished and self._file is None:
            self._file = self._open(self._steps)
        if self._file is not None:
            self._file.close()

    def _open(self, columns: Sequence[str]) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            self._writer.writeheader()
            file.flush()
        return file


def read_rows(path: Path, start: int = 0) -> tuple[list[dict[str, str]], int]:
    """Return the rows from byte `start` on, and the byte at which the next one will begin.

    A last row without its newline is left for the next time; a row that a kill has cut short and
    that others follow is left out.
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
