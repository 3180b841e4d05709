"""The photos bundled with the project: labels are folders, attribution.csv lists them all."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from colorgan.config import DataParams
from colorgan.data.decode import PhotoList, RawPhoto
from colorgan.errors import ColorganError

ATTRIBUTION = "attribution.csv"


def fetch(data: DataParams, folder: Path) -> None:
    """Copy the listed photos and the list; refuse a list and a folder that differ."""
    home = Path(data.path)
    listed = _labels(home)
    there = {path.relative_to(home).as_posix() for path in home.glob("*/*.webp")}
    if differing := sorted(there ^ listed.keys()):
        raise ColorganError(
            f"{home / differing[0]} should be there and be listed in {home / ATTRIBUTION}, which "
            "names the author, licence and source of every bundled photo"
        )
    for name in (*listed, ATTRIBUTION):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(home / name, folder / name)


def open_photos(data: DataParams, folder: Path) -> PhotoList:  # noqa: ARG001
    """Open the photos that attribution.csv lists, in the order of their names."""

    def read(name: str, label: str) -> RawPhoto:
        return RawPhoto((folder / name).read_bytes(), name, label)

    return PhotoList(read, sorted(_labels(folder).items()))


def _labels(home: Path) -> dict[str, str]:
    """Read attribution.csv: the label of each file."""
    path = home / ATTRIBUTION
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["file"]: row["label"] for row in csv.DictReader(file, strict=True)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ColorganError(
            f"{path} cannot be read ({error}): the source `sample` needs the folder of the "
            "bundled photos as its path, data/sample"
        ) from None
