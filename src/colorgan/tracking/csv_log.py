"""losses.csv and validation.csv: written a row at a time, cut back to the checkpoint on resume.

The first column numbers the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from colorgan import io

LOSSES = "losses.csv"
VALIDATION = "validation.csv"


def add_row(path: Path, steps: Mapping[str, int], values: Mapping[str, float]) -> None:
    """Add a row, which can be read at once; the first one names the columns."""
    # A loss has no more than six meaningful digits.
    row = {**steps, **{name: f"{value:.6g}" for name, value in values.items()}}
    header = "" if path.exists() else ",".join(row) + "\n"
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(header + ",".join(map(str, row.values())) + "\n")


def cut_back(path: Path, last: int) -> None:
    """Remove the rows after number `last`, and the file if none is left."""
    rows = [row for row in read_rows(path) if int(next(iter(row.values()))) <= last]
    if not rows:
        path.unlink(missing_ok=True)
        return
    with io.file_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        for columns in (rows[0], *(row.values() for row in rows)):
            file.write(",".join(columns) + "\n")


def read_rows(path: Path, after: int = -1) -> list[dict[str, str]]:
    """Return the rows above number `after`.

    A damaged row is left out, and a last one without its newline, which is not whole yet.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    header, *lines = text.split("\n")[:-1] or [""]
    columns, rows = header.split(","), []
    for line in reversed(lines):
        values = line.split(",")
        if len(values) == len(columns):
            if int(values[0]) <= after:
                break
            rows.append(dict(zip(columns, values, strict=True)))
    return rows[::-1]
