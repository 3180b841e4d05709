"""Reads the results of training and evaluation from reports/, and shows metrics.json as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.table import Table

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.reporting.measures import COLORFULNESS, MEASURES, SHIFTS

Numbers = Mapping[str, float | None]

EVALUATE = "run `dvc repro evaluate` (or `python -m colorgan evaluate`) first"
TRAIN = "run `dvc repro train_{0}` (or `python -m colorgan train {0}`) first"
TEXT_COLUMNS = ("space", "id", "label")

ABOUT = (
    "ECF: at equal colourfulness, with so much gain of the predicted colours that they\n"
    "are 85% as colourful as the truth.\n"
    "FD Lite2: Fréchet distance on features of EfficientNet-Lite2; on another scale\n"
    "than FID. It is too large on few photos: compare it only on the same photos."
)


@dataclass(frozen=True)
class Scores:
    """One space's entry of metrics.json; None where a measure is unknown.

    `photos` is their number; `gray` is the baseline.
    """

    photos: int
    generated: Numbers
    gray: Numbers
    truth: Numbers


@dataclass(frozen=True)
class Results:
    """Everything measured on one space: its part of each file in reports/.

    `validation` has no rows if there were no validation photos.
    """

    scores: Scores
    per_photo: pd.DataFrame
    per_class: pd.DataFrame
    hues: pd.DataFrame
    losses: pd.DataFrame
    validation: pd.DataFrame


def read_results(spaces: Sequence[str]) -> dict[str, Results]:
    """Read the results of `spaces`; a ColorganError names the file and the command to run."""
    scores, of_photo = read_scores(spaces), ("photo", "id", "psnr", "ssim", "ciede2000")
    return {
        space: Results(
            scores[space],
            read_table(paths.PER_PHOTO, EVALUATE, *of_photo, "gray_ciede2000", space=space),
            read_table(paths.PER_CLASS, EVALUATE, "label", "n", "ciede2000", space=space),
            read_table(paths.HUES, EVALUATE, "hue", "truth", "generated", space=space),
            losses=read_table(paths.losses(space), TRAIN.format(space), "iteration"),
            validation=read_table(paths.validation(space), TRAIN.format(space), "epoch"),
        )
        for space in spaces
    }


def read_scores(spaces: Sequence[str] = ()) -> dict[str, Scores]:
    """Read the entries of `spaces` in metrics.json, or all of them."""
    with _reading(paths.METRICS, EVALUATE):
        content = json.loads(paths.METRICS.read_text(encoding="utf-8"))
        return {space: Scores(**content[space]) for space in spaces or content.keys()}


def metrics_table() -> Table:
    """Return metrics.json as a table 100 characters wide, a row a picture.

    ColorganError if `evaluate` did not write it.
    """
    scores = read_scores()
    present = {key for score in scores.values() for key in score.generated}
    columns = [measure for measure in (*MEASURES, *SHIFTS) if measure.key in present]
    caption = [
        f"{space}: {score.photos} photos, colourfulness of the truth "
        + COLORFULNESS.show(score.truth["colorfulness"])
        for space, score in scores.items()
    ]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="\n".join((*caption, ABOUT)),
        caption_justify="left",
    )
    table.add_column("picture", no_wrap=True)
    for measure in columns:
        table.add_column(measure.short, justify="right", no_wrap=True)
    for space, score in scores.items():
        for kind, numbers in (("generated", score.generated), ("gray", score.gray)):
            cells = (measure.bare(numbers.get(measure.key)) for measure in columns)
            table.add_row(f"{space} {kind}", *cells, end_section=kind == "gray")
    return table


def read_table(path: Path, remedy: str, *columns: str, space: str = "") -> pd.DataFrame:
    """Read the rows of a space, or all, of a CSV file that has `columns`.

    Numbers are float, an empty field NaN. Ids and labels are taken as they are: a class called NA
    is not a missing value.
    """
    with _reading(path, remedy):
        table = pd.read_csv(path, converters=dict.fromkeys(TEXT_COLUMNS, str))
        numbers = [name for name in table.columns if name not in TEXT_COLUMNS]
        table = table.astype(dict.fromkeys(numbers, float))
        if missing := [name for name in columns if name not in table]:
            raise KeyError(missing[0])
        if space:
            table = table[table["space"] == space].reset_index(drop=True)
            if table.empty:
                raise KeyError(space)
    return table


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong into a sentence with the command that writes the file."""
    try:
        yield
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {remedy}") from None
    except KeyError as error:
        raise ColorganError(f"{path} has nothing about {error.args[0]}: {remedy}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ColorganError(f"{path} cannot be used ({error}): {remedy}") from None
