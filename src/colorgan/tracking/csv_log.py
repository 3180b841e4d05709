"""losses.csv and validation.csv: written a row at a time, cut back to the checkpoint on resume."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from colorgan import io

LOSSES = "losses.csv"
VALIDATION = "validation.csv"


class CsvTable:
    """A CSV file that is written row by row. Its columns are those of its first row."""

    def __init__(self, path: Path, steps: Sequence[str], last: int | None = None) -> None:
        """Remove the rows after number `last`, that of the checkpoint; all rows if it is None.

        Rows are numbered by the first of the columns `steps`.
        """
        self._path, self._columns = path, list(steps)
        old = read_rows(path)
        rows = [] if last is None else [row for row in old if int(row[steps[0]]) <= last]
        if not rows:
            path.unlink(missing_ok=True)
            return
        self._columns = list(rows[0])
        with io.file_aside(path) as aside:
            self._append(aside, rows)

    def add(self, steps: Mapping[str, int], values: Mapping[str, float]) -> None:
        """Add a row, which can be read at once."""
        # A loss has no more than six meaningful digits.
        row = {**steps, **{name: f"{value:.6g}" for name, value in values.items()}}
        if not self._path.exists():
            self._columns = list(row)
        self._append(self._path, [row])

    def finish(self) -> None:
        """Let the file exist, if need be with a header alone."""
        self._append(self._path, [])

    def _append(self, path: Path, rows: Iterable[Mapping[str, object]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerows(rows)


def read_rows(path: Path, start: int = 0) -> list[dict[str, str]]:
    """Return the rows from number `start` on; a last one without its newline is not whole yet."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    header, *rows = text.split("\n")[:-1] or [""]
    columns = header.split(",")
    values = (row.split(",") for row in rows[start:])
    # A damaged row is left out.
    return [dict(zip(columns, row, strict=True)) for row in values if len(row) == len(columns)]
