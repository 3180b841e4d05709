"""The photos bundled with the project: labels are folders, attribution.csv lists them all."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colorgan.config import DataParams
from colorgan.data.decode import RawPhoto
from colorgan.errors import ColorganError

ATTRIBUTION = "attribution.csv"
COLUMNS = ("file", "title", "author", "licence", "source", "label")


@dataclass(frozen=True)
class SamplePhotos:
    """The bundled photos, (name, label) in the order of their names."""

    folder: Path
    photos: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.photos)

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Read the files one by one."""
        for row in rows:
            name, label = self.photos[row]
            yield RawPhoto((self.folder / name).read_bytes(), name, label)


class SampleSource:
    """Photos in `<label>/<name>.webp` beside attribution.csv, which has a row for each."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Copy the listed photos and the list; refuse a list and a folder that differ."""
        home = Path(data.path)
        listed = _listed(home)
        there = {path.relative_to(home).as_posix() for path in home.glob("*/*.webp")}
        if missing := sorted(set(listed) - there):
            raise ColorganError(f"{home / missing[0]} is listed in {ATTRIBUTION} but not there")
        if unlisted := sorted(there - set(listed)):
            raise ColorganError(
                f"{home / unlisted[0]} has no row in {home / ATTRIBUTION}: every bundled photo "
                "needs its author, licence and source there"
            )
        for name in (*listed, ATTRIBUTION):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / name, folder / name)

    def open(self, data: DataParams, folder: Path) -> SamplePhotos:
        """Open the photos that attribution.csv lists."""
        return SamplePhotos(folder, tuple(sorted(_listed(folder).items())))


def _listed(home: Path) -> dict[str, str]:
    """Read attribution.csv: the label of each file."""
    path = home / ATTRIBUTION
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, strict=True)
            if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
                raise ColorganError(f"{path} lacks the column {missing[0]!r}; it needs {COLUMNS}")
            return {row["file"]: row["label"] for row in table}
    except (OSError, ValueError, csv.Error) as error:
        raise ColorganError(
            f"{path} cannot be read ({error}): the source `sample` needs the folder of the "
            "bundled photos as its path, data/sample"
        ) from None
