"""The stage `evaluate`: colour the test photos and measure them beside the gray picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from colorgan import io, paths
from colorgan.color import UInt8Array
from colorgan.config import EvaluateParams, Params
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import metrics, summary
from colorgan.evaluation.frechet import NetworkDistances
from colorgan.evaluation.metrics import FloatArray
from colorgan.evaluation.summary import MEASURES, PREFIXES, TRUTH_MEASURES, Summary
from colorgan.model import Model
from colorgan.runs.runtime import choose_device
from colorgan.tracking.run import record_results


@dataclass(frozen=True)
class Subject:
    """What is evaluated: the model of a space, and its test photos."""

    space: str
    model: Model
    split: Split


@dataclass(frozen=True)
class Evaluation:
    """The measures of one space.

    Attributes:
        photos: its rows of per_photo.csv.
        hues: its rows of hues.csv.
        content: its part of metrics.json.
    """

    photos: pd.DataFrame
    hues: pd.DataFrame
    content: Summary


def evaluate(params: Params, spaces: Sequence[str]) -> None:
    """Measure the model of each space on its test photos, write the reports, record the results.

    Writes metrics.json, per_photo.csv, per_class.csv and hues.csv in reports/. The same models and
    photos give the same bytes.

    Raises:
        ColorganError: a model or a test split is missing, empty, or does not fit the other; or a
            network that measures could not be loaded. Nothing is written then.
    """
    device = choose_device(params.runtime.device)
    # Open all of them first, so that a missing model is reported before the long work.
    subjects = [open_subject(params, space, device) for space in spaces]
    evaluations = [measure(subject, params.evaluate) for subject in subjects]
    write_reports(evaluations)
    for subject, evaluation in zip(subjects, evaluations, strict=True):
        record_results(
            stage=f"evaluate_{subject.space}",
            space=subject.space,
            generator_sha256=subject.model.sha256,
            metrics=summary.flat(evaluation.content),
            artifacts=[paths.METRICS, paths.PER_CLASS, paths.PER_PHOTO, paths.HUES],
        )


def open_subject(params: Params, space: str, device: torch.device) -> Subject:
    """Load the model of a space and open its test split.

    Raises:
        ColorganError: one is missing, the split is empty, or they do not fit each other.
    """
    folder = paths.processed(space)
    model = Model.load(paths.model(space), device)
    split = open_split(folder, "test")
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


def measure(subject: Subject, cfg: EvaluateParams) -> Evaluation:
    """Colour and measure the photos of the split, with one batch in memory at a time."""
    rows: list[dict[str, float]] = []
    hues = {kind: np.zeros(metrics.HUE_BINS) for kind in ("truth", "generated")}
    distances = NetworkDistances(cfg, subject.model.device)
    for batch in subject.model.colorize_split(subject.split, cfg.batch_size):
        for pictures in zip(batch.gray, batch.truth, batch.generated, strict=True):
            row, true_hues, generated_hues = measure_photo(*pictures, cfg)
            rows.append(row)
            hues["truth"] += true_hues
            hues["generated"] += generated_hues
        distances.update(batch)
    index = subject.split.index
    photos = pd.DataFrame(
        {
            "space": subject.space,
            "photo": np.arange(len(rows)),
            "id": index["id"],
            "label": index["label"],
        }
    ).join(pd.DataFrame(rows))
    content = summary.summarise(photos)
    for kind, values in distances.compute().items():
        content[kind] |= values
    return Evaluation(
        photos=photos,
        hues=pd.DataFrame(
            {
                "space": subject.space,
                "hue": metrics.hue_bin_centers(),
                "truth": hues["truth"] / len(rows),
                "generated": hues["generated"] / len(rows),
            }
        ),
        content=summary.rounded(content),
    )


def measure_photo(
    gray: UInt8Array, truth: UInt8Array, generated: UInt8Array, cfg: EvaluateParams
) -> tuple[dict[str, float], FloatArray, FloatArray]:
    """Measure the pictures of one photo, each `(H, W, 3)` uint8 sRGB.

    Returns:
        The values of `summary.COLUMNS`, and `metrics.hue_histogram` of the truth and of the
        generated picture. `hue_share` is NaN for a photo without colour.
    """
    true_lab = metrics.lab_from_pictures(truth)
    lab = metrics.lab_from_pictures(generated)
    row = _compare("generated", generated, lab, truth, true_lab, cfg)
    for name in TRUTH_MEASURES:
        row[PREFIXES["truth"] + name] = float(getattr(metrics, name)(truth))
    row |= _compare("gray", gray, metrics.lab_from_pictures(gray), truth, true_lab, cfg)
    true_hues = metrics.hue_histogram(true_lab, chromatic=cfg.chromatic)
    return row, true_hues, metrics.hue_histogram(lab, chromatic=cfg.chromatic)


def _compare(
    kind: str,
    picture: UInt8Array,
    lab: FloatArray,
    truth: UInt8Array,
    true_lab: FloatArray,
    cfg: EvaluateParams,
) -> dict[str, float]:
    """Return `MEASURES` of a picture by column; `lab` and `true_lab` are the two in CIE Lab."""
    shift_a, shift_b = metrics.color_shift(lab, true_lab)
    values = {
        "psnr": metrics.psnr(picture, truth),
        "ssim": metrics.ssim(picture, truth),
        "ciede2000": metrics.ciede2000(lab, true_lab),
        "colorfulness": metrics.colorfulness(picture),
        "colorfulness_abs": metrics.colorfulness_abs(picture),
        "hue_share": metrics.hue_share(
            lab, true_lab, chromatic=cfg.chromatic, tolerance=cfg.hue_tolerance
        ),
        "shift_a": shift_a,
        "shift_b": shift_b,
    }
    return {PREFIXES[kind] + name: float(values[name]) for name in MEASURES}


def write_reports(evaluations: Sequence[Evaluation]) -> None:
    """Write the four reports, each whole or not at all."""
    _write_csv(paths.PER_PHOTO, [done.photos for done in evaluations])
    _write_csv(paths.PER_CLASS, [summary.by_class(done.photos) for done in evaluations])
    _write_csv(paths.HUES, [done.hues for done in evaluations])
    io.write_json(paths.METRICS, {done.photos["space"][0]: done.content for done in evaluations})


def _write_csv(path: Path, tables: Sequence[pd.DataFrame]) -> None:
    with io.file_aside(path) as aside:
        pd.concat(tables).to_csv(aside, index=False, float_format="%.6g", lineterminator="\n")
