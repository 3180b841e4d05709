"""The stage `evaluate`: colour the test split, and measure it beside the gray picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from colorgan import io, paths
from colorgan.config import EvaluateParams, Params
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import metrics, summary
from colorgan.evaluation.distances import Distances, distances
from colorgan.evaluation.photo import COLUMNS, measure_photo
from colorgan.evaluation.summary import Summary
from colorgan.model import Model
from colorgan.runs.runtime import choose_device
from colorgan.tracking.run import record_results

SPLIT = "test"


@dataclass(frozen=True)
class Subject:
    """What is evaluated: the model of a space, and photos it never saw."""

    space: str
    model: Model
    split: Split


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one space.

    Attributes:
        photos: its rows of per_photo.csv.
        hues: its rows of hues.csv.
        content: its part of metrics.json.
    """

    photos: pd.DataFrame
    hues: pd.DataFrame
    content: Summary


def evaluate(params: Params, spaces: Sequence[str]) -> pd.DataFrame:
    """Measure the model of each space on its test split, write the reports, record the results.

    Writes metrics.json, per_photo.csv, per_class.csv and hues.csv under reports/, with the spaces
    given and no others. The same models and photos give the same bytes.

    Returns:
        The content of per_photo.csv: a row a photo of each space.

    Raises:
        ColorganError: a model or a test split is missing, empty, or does not fit the other; or
            a network that measures could not be loaded. Nothing is written then.
    """
    device = choose_device(params.runtime.device)
    # All are opened first: a missing model is told at once, not after the other space's photos.
    subjects = [open_subject(params, space, device) for space in spaces]
    evaluations = [measure(subject, params.evaluate) for subject in subjects]
    photos = write_reports(evaluations)
    for subject, evaluation in zip(subjects, evaluations, strict=True):
        record_results(
            stage=f"evaluate_{subject.space}",
            space=subject.space,
            generator_sha256=subject.model.sha256,
            metrics=summary.flat(evaluation.content),
            artifacts=[paths.METRICS, paths.PER_CLASS, paths.PER_PHOTO, paths.HUES],
        )
    return photos


def open_subject(params: Params, space: str, device: torch.device) -> Subject:
    """Load the model of a space and open its test split.

    Raises:
        ColorganError: one is missing, the split is empty, or they do not fit each other.
    """
    folder = paths.processed(space)
    model = Model.load(paths.model(space), device)
    split = open_split(folder, SPLIT)
    if not len(split):
        fraction = params.space(space).data.test_fraction
        raise ColorganError(
            f"{folder} has no test photos: {space}.test_fraction is {fraction} in params.yaml; "
            "it should be large enough for at least one photo, such as 0.2"
        )
    side = split.input.shape[1]
    if (model.space.name, model.image_size) != (space, side):
        raise ColorganError(
            f"{paths.model(space)} holds a model for {model.space.name} at "
            f"{model.image_size} px, {folder} holds {space} photos of {side} px: run "
            f"`dvc repro train_{space}` to train one that fits"
        )
    return Subject(space, model, split)


def measure(subject: Subject, params: EvaluateParams) -> Evaluation:
    """Colour the photos of the split and measure them, with one batch in memory at a time."""
    rows: list[dict[str, float]] = []
    true_hues, hues = np.zeros(metrics.HUE_BINS), np.zeros(metrics.HUE_BINS)
    of_the_split = distances(params, subject.model.device)
    for batch in subject.model.colorize_split(subject.split, params.batch_size):
        for pictures in zip(batch.gray, batch.truth, batch.generated, strict=True):
            photo = measure_photo(*pictures, params)
            rows.append(photo.row)
            true_hues += photo.true_hues
            hues += photo.hues
        for distance in of_the_split:
            distance.update(batch)
    photos = _per_photo(subject, rows)
    return Evaluation(
        photos,
        _hues(subject, true_hues / len(rows), hues / len(rows)),
        _summary(photos, of_the_split),
    )


def _per_photo(subject: Subject, rows: list[dict[str, float]]) -> pd.DataFrame:
    """Put the position, id and label of each photo before its measures."""
    names = pd.DataFrame(
        {
            "space": subject.space,
            "photo": np.arange(len(rows)),
            "id": subject.split.index["id"],
            "label": subject.split.index["label"],
        }
    )
    return pd.concat([names, pd.DataFrame(rows, columns=list(COLUMNS))], axis="columns")


def _hues(
    subject: Subject, truth: metrics.FloatArray, generated: metrics.FloatArray
) -> pd.DataFrame:
    """Return the share of all pixels that are chromatic and of each hue, a row a bin."""
    centers = metrics.hue_bin_centers()
    return pd.DataFrame(
        {"space": subject.space, "hue": centers, "truth": truth, "generated": generated}
    )


def _summary(photos: pd.DataFrame, of_the_split: Sequence[Distances]) -> Summary:
    content = summary.summarise(photos)
    for distance in of_the_split:
        for kind, values in distance.compute().items():
            content[kind] |= values
    rounded: Summary = summary.rounded(content)
    return rounded


def write_reports(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """Write the four reports, each whole or not at all; return the content of per_photo.csv."""
    photos = pd.concat([done.photos for done in evaluations], ignore_index=True)
    _write_csv(paths.PER_PHOTO, photos)
    _write_csv(paths.PER_CLASS, summary.by_class(photos))
    _write_csv(paths.HUES, pd.concat([done.hues for done in evaluations]))
    io.write_json(paths.METRICS, {done.photos["space"][0]: done.content for done in evaluations})
    return photos


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with io.file_aside(path) as aside:
        frame.to_csv(aside, index=False, float_format="%.6g", lineterminator="\n")
