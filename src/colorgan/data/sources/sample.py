"""The photos bundled with the project: labels are folders, attribution.csv lists them all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from colorgan import files
from colorgan.data.sources.base import PhotoFile
from colorgan.errors import ColorganError
from colorgan.params import DataParams

ATTRIBUTION = "attribution.csv"
COLUMNS = ("file", "title", "author", "licence", "source", "label")


class SampleSource:
    """Photos in `<label>/<name>.webp` beside attribution.csv, which has a row for each."""

    def fetch(self, params: DataParams, folder: Path) -> None:
        """Copy the listed photos and the list; refuse a list and a folder that differ."""
        home = Path(params.path)
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

    def photos(self, folder: Path) -> Iterator[PhotoFile]:
        """Yield the photos in the order of their names; they have no split of their own."""
        for name, label in sorted(_listed(folder).items()):
            path = folder / name
            yield PhotoFile(files.sha256(path)[:16], name, label, None, path)


def _listed(home: Path) -> dict[str, str]:
    """Read attribution.csv: the label of each file."""
    path = home / ATTRIBUTION
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ColorganError(
            f"{path} cannot be read ({error}): the source `sample` needs the folder of the "
            "bundled photos as its path, data/sample"
        ) from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ColorganError(f"{path} lacks the column {missing[0]!r}; it needs {COLUMNS}")
    return dict(zip(table["file"], table["label"], strict=True))
