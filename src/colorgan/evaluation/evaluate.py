"""The stage `evaluate`: colour the test photos and measure them beside the gray picture."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from colorgan import io, paths
from colorgan.config import EvaluateParams, Params
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import metrics, summary
from colorgan.evaluation.equal_colorfulness import at_gain, ciede2000_ecf, equal_gain
from colorgan.evaluation.frechet import Lite2Features, Moments, frechet_distance
from colorgan.evaluation.metrics import FloatArray
from colorgan.evaluation.summary import COLUMNS, PREFIXES, TRUTH_MEASURES, Summary
from colorgan.model import ColoredBatch, Model
from colorgan.runs.runtime import choose_device
from colorgan.tracking.run import record_results


def evaluate(params: Params, spaces: Sequence[str]) -> None:
    """Measure the model of each space on its test photos, write the reports, record the results.

    Writes metrics.json, per_photo.csv, per_class.csv and hues.csv in reports/. The same models and
    photos give the same bytes. ColorganError if a model or a test split is missing, empty, or does
    not fit the other; nothing is written then.
    """
    device = choose_device(params.runtime.device)
    # Open all of them first, so that a missing model is reported before the long work.
    opened = [open_space(params, space, device) for space in spaces]
    measured = [measure(model, split, params.evaluate) for model, split in opened]
    photos, hues, contents = zip(*measured, strict=True)
    classes = [summary.by_class(table) for table in photos]
    for path, tables in ((paths.PER_PHOTO, photos), (paths.PER_CLASS, classes), (paths.HUES, hues)):
        with io.file_aside(path) as aside:
            pd.concat(tables).to_csv(aside, index=False, float_format="%.6g", lineterminator="\n")
    io.write_json(paths.METRICS, dict(zip(spaces, contents, strict=True)))
    for (model, _), content in zip(opened, contents, strict=True):
        record_results(
            stage=f"evaluate_{model.space.name}",
            space=model.space.name,
            generator_sha256=model.sha256,
            metrics=summary.flat(content),
            artifacts=[paths.METRICS, paths.PER_CLASS, paths.PER_PHOTO, paths.HUES],
        )


def open_space(params: Params, space: str, device: torch.device) -> tuple[Model, Split]:
    """Load the model of a space and open its test split; raise ColorganError if they do not fit."""
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
    return model, split


def measure(
    model: Model, split: Split, cfg: EvaluateParams
) -> tuple[pd.DataFrame, pd.DataFrame, Summary]:
    """Return a space's rows of per_photo.csv and hues.csv, and its entry of metrics.json.

    The photos are coloured twice: the gain of equal colourfulness is known only after all of them.
    One batch at a time is in memory.
    """
    batches = model.colorize_split(split, cfg.batch_size)
    gain, reached = equal_gain((batch.lightness, batch.ab, batch.truth) for batch in batches)
    tables: list[pd.DataFrame] = []
    errors: list[float] = []
    hues = {kind: np.zeros(metrics.HUE_BINS) for kind in ("truth", "generated")}
    features = Lite2Features(model.device) if cfg.frechet else None
    moments: dict[str, Moments] = defaultdict(Moments)
    for batch in model.colorize_split(split, cfg.batch_size):
        pictures = {kind: getattr(batch, kind) for kind in PREFIXES}
        lab = {kind: metrics.lab_from_pictures(pictures[kind]) for kind in PREFIXES}
        tables.append(measure_photos(batch, lab))
        for kind in hues:
            hues[kind] += metrics.hue_histogram(lab[kind]) * (len(batch.truth) / len(split))
        equal = at_gain(batch.lightness, batch.ab, gain)
        errors += metrics.ciede2000(equal, batch.truth).tolist()
        if features:
            for kind, shown in {**pictures, "equal": equal}.items():
                moments[kind].update(features(shown))
    photos = split.index[["id", "label"]].join(pd.concat(tables, ignore_index=True))
    photos.insert(0, "space", model.space.name)
    photos.insert(1, "photo", np.arange(len(photos)))
    content = summary.summarise(photos)
    if features:
        for kind in ("gray", "generated"):
            content[kind]["frechet_lite2"] = frechet_distance(moments[kind], moments["truth"])
    content["generated"] |= {"gain": gain, "ciede2000_ecf": ciede2000_ecf(errors, reached)}
    if features:
        distance = frechet_distance(moments["equal"], moments["truth"]) if reached else math.nan
        content["generated"]["frechet_lite2_ecf"] = distance
    shares = {"space": model.space.name, "hue": metrics.hue_bin_centers(), **hues}
    return photos, pd.DataFrame(shares), summary.rounded(content)


def measure_photos(batch: ColoredBatch, lab: Mapping[str, FloatArray]) -> pd.DataFrame:
    """Return the columns `summary.COLUMNS` of the photos of a batch; `lab` has them in CIE Lab.

    `hue_share` is NaN for a photo without colour.
    """
    columns: dict[str, FloatArray] = {}
    for kind in ("generated", "gray"):
        pictures = getattr(batch, kind)
        shift_a, shift_b = metrics.color_shift(lab[kind], lab["truth"])
        values = {
            "psnr": metrics.psnr(pictures, batch.truth),
            "ssim": metrics.ssim(pictures, batch.truth),
            "ciede2000": metrics.ciede2000(lab[kind], lab["truth"]),
            "colorfulness": metrics.colorfulness(pictures),
            "colorfulness_abs": metrics.colorfulness_abs(pictures),
            "hue_share": metrics.hue_share(lab[kind], lab["truth"]),
            "shift_a": shift_a,
            "shift_b": shift_b,
        }
        columns |= {PREFIXES[kind] + name: value for name, value in values.items()}
    for name in TRUTH_MEASURES:
        columns[PREFIXES["truth"] + name] = getattr(metrics, name)(batch.truth)
    return pd.DataFrame(columns)[list(COLUMNS)]
