"""What the report is made of: the tables that training and evaluation left in reports/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.reporting.measures import present

Numbers = Mapping[str, float | None]

EVALUATE = "run `dvc repro evaluate` (or `python -m colorgan evaluate`) first"
TEXT_COLUMNS = ("space", "id", "label")
PER_PHOTO_COLUMNS = ("space", "photo", "id", "label", "psnr", "ssim", "ciede2000", "gray_ciede2000")
PER_CLASS_COLUMNS = ("space", "label", "n", "ciede2000")
HUES_COLUMNS = ("space", "hue", "truth", "generated")


@dataclass(frozen=True)
class Scores:
    """The measures of one space, from metrics.json; None is what could not be measured.

    Attributes:
        photos: test photos they were measured on.
        generated: measures of the coloured photos.
        gray: measures of the photos left gray, the baseline.
        truth: colourfulness of the photos as they were.
    """

    photos: int
    generated: Numbers
    gray: Numbers
    truth: Numbers


@dataclass(frozen=True)
class Results:
    """Everything measured on one space.

    Attributes:
        scores: its entry of metrics.json.
        per_photo: its rows of per_photo.csv.
        per_class: its rows of per_class.csv.
        hues: its rows of hues.csv.
        losses: its losses.csv.
        validation: its validation.csv; no rows where there are no validation photos.
    """

    scores: Scores
    per_photo: pd.DataFrame
    per_class: pd.DataFrame
    hues: pd.DataFrame
    losses: pd.DataFrame
    validation: pd.DataFrame


def read_results(spaces: Sequence[str]) -> dict[str, Results]:
    """Read the results of `spaces`.

    Raises:
        ColorganError: a file is missing, unreadable or lacks a space or a column; names the file
            and the command that makes it.
    """
    scores = read_scores(paths.METRICS, spaces)
    per_photo = read_table(paths.PER_PHOTO, PER_PHOTO_COLUMNS, EVALUATE)
    per_class = read_table(paths.PER_CLASS, PER_CLASS_COLUMNS, EVALUATE)
    hues = read_table(paths.HUES, HUES_COLUMNS, EVALUATE)
    return {
        space: Results(
            scores=scores[space],
            per_photo=_of_space(per_photo, space, paths.PER_PHOTO),
            per_class=_of_space(per_class, space, paths.PER_CLASS),
            hues=_of_space(hues, space, paths.HUES),
            losses=read_table(paths.losses(space), ("iteration",), _train(space)),
            validation=read_table(paths.validation(space), ("epoch",), _train(space)),
        )
        for space in spaces
    }


def read_scores(path: Path, spaces: Sequence[str]) -> dict[str, Scores]:
    """Read the entries of `spaces` in metrics.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {EVALUATE}") from None
    except ValueError as error:
        raise ColorganError(f"{path} is not valid JSON ({error}): {EVALUATE}") from None
    scores = {}
    for space in spaces:
        if not isinstance(content, dict) or space not in content:
            raise ColorganError(f"{path} has nothing about {space}: {EVALUATE}")
        scores[space] = _scores(content[space], f"{path}, {space}")
    return scores


def read_table(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a CSV file with at least `columns`; numbers as float, an empty field as NaN.

    Labels are taken as they are written: a class called NA is no missing value.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {remedy}") from None
    except (OSError, ValueError) as error:
        raise ColorganError(f"{path} cannot be read ({error}): {remedy}") from None
    for name in [n for n in table.columns if n not in TEXT_COLUMNS]:
        table[name] = _numbers(table[name])
    for name in columns:
        if name not in table:
            raise ColorganError(f"{path} lacks the column {name}: {remedy}")
        if name not in TEXT_COLUMNS and not is_numeric_dtype(table[name]):
            raise ColorganError(f"{path}: the column {name} is not all numbers: {remedy}")
    return table


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as float, or as it was where it holds words."""
    try:
        return column.replace("", "nan").astype(float)
    except ValueError:
        return column


def _scores(entry: Any, where: str) -> Scores:
    try:
        parts = {
            part: {key: present(value) for key, value in entry[part].items()}
            for part in ("generated", "gray", "truth")
        }
        return Scores(photos=int(entry["photos"]), **parts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ColorganError(
            f"{where}: not what the evaluation writes ({type(error).__name__}: {error}): {EVALUATE}"
        ) from None


def _of_space(table: pd.DataFrame, space: str, path: Path) -> pd.DataFrame:
    rows = table[table["space"] == space].reset_index(drop=True)
    if rows.empty:
        raise ColorganError(f"{path} has nothing about {space}: {EVALUATE}")
    return rows


def _train(space: str) -> str:
    return f"run `dvc repro train_{space}` (or `python -m colorgan train {space}`) first"
