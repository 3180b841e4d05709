"""The stage from end to end: arrays and weights on disk in, four reports and a record out."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from colorgan import paths
from colorgan.data.arrays import open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import metrics
from colorgan.evaluation.equal_colorfulness import SHARE
from colorgan.evaluation.evaluate import evaluate
from colorgan.evaluation.summary import COLUMNS, MEASURES
from colorgan.io import sha256
from colorgan.model import WEIGHTS, Model
from colorgan.spaces import get_space

REPORTS = (paths.METRICS, paths.PER_PHOTO, paths.PER_CLASS, paths.HUES)


def read_metrics() -> Any:
    """Read metrics.json as the JSON standard has it: without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"metrics.json holds {name}")

    return json.loads(paths.METRICS.read_text(encoding="utf-8"), parse_constant=refuse)


def test_both_spaces_make_four_reports_twice_the_same(make_project, params, recorded) -> None:
    make_project("rgb", 5)
    make_project("lab", 3)
    evaluate(params, ["rgb", "lab"])

    photos, metrics_json = pd.read_csv(paths.PER_PHOTO), read_metrics()
    assert list(photos.columns) == ["space", "photo", "id", "label", *COLUMNS]
    assert photos["space"].tolist() == ["rgb"] * 5 + ["lab"] * 3
    assert photos["photo"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert photos["id"].tolist()[:2] == ["test0", "test1"]
    classes = pd.read_csv(paths.PER_CLASS)
    assert classes[["space", "label", "n"]].to_numpy().tolist() == [
        ["rgb", "forest", 3],
        ["rgb", "sea", 2],
        ["lab", "forest", 2],
        ["lab", "sea", 1],
    ]
    sea = photos[(photos["space"] == "rgb") & (photos["label"] == "sea")]
    assert classes["gray_ciede2000"][1] == pytest.approx(sea["gray_ciede2000"].mean(), rel=1e-5)
    assert [call["stage"] for call in recorded] == ["evaluate_rgb", "evaluate_lab"]
    for call in recorded:
        summary = metrics_json[call["space"]]
        assert call["generator_sha256"] == sha256(paths.model(call["space"]) / WEIGHTS)
        assert call["metrics"]["test/psnr"] == summary["generated"]["psnr"]
        assert call["metrics"]["test/gray_psnr"] == summary["gray"]["psnr"]
        assert call["metrics"]["test/truth_colorfulness"] == summary["truth"]["colorfulness"]
        assert set(call["artifacts"]) == set(REPORTS)

    first = {path: path.read_bytes() for path in REPORTS}
    evaluate(params, ["rgb", "lab"])
    assert {path: path.read_bytes() for path in REPORTS} == first
    assert {path.name for path in paths.REPORTS.iterdir()} == {path.name for path in REPORTS}


def test_the_reports_hold_the_measures_of_the_photos_and_their_means(make_project, params) -> None:
    make_project("lab", 5)
    evaluate(params, ["lab"])
    photos, hues = pd.read_csv(paths.PER_PHOTO), pd.read_csv(paths.HUES)
    split = open_split(paths.processed("lab"), "test")
    # In one batch; the stage takes two photos at a time.
    (batch,) = Model.load(paths.model("lab")).colorize_split(split, batch_size=len(split))
    expected = {
        "psnr": metrics.psnr(batch.generated, batch.truth),
        "ciede2000": metrics.ciede2000(batch.generated, batch.truth),
        "gray_ssim": metrics.ssim(batch.gray, batch.truth),
        "colorfulness": metrics.colorfulness(batch.generated),
        "truth_colorfulness_abs": metrics.colorfulness_abs(batch.truth),
        "shift_b": metrics.color_shift(batch.generated, batch.truth)[1],
        "gray_shift_a": metrics.color_shift(batch.gray, batch.truth)[0],
    }
    for column, values in expected.items():
        assert photos[column].tolist() == pytest.approx(values.tolist(), rel=2e-3, abs=2e-3), column
    assert hues["hue"].tolist() == [5 + 10 * i for i in range(36)]
    for column in ("truth", "generated"):
        mean = metrics.hue_histogram(getattr(batch, column)).tolist()
        assert sum(mean) > 0
        assert hues[column].tolist() == pytest.approx(mean, rel=1e-5, abs=2e-3)
    summary = read_metrics()["lab"]
    truth = photos["truth_colorfulness"].mean()
    assert summary["photos"] == 5
    assert summary["truth"]["colorfulness"] == pytest.approx(truth, rel=1e-4)
    for kind, prefix in (("generated", ""), ("gray", "gray_")):
        measured = summary[kind]
        for name in MEASURES:
            mean = photos[prefix + name].mean()
            assert measured[name] == pytest.approx(mean, rel=1e-4, abs=1e-4)
        gap = abs(measured["colorfulness"] - truth)
        assert measured["colorfulness_gap"] == pytest.approx(gap, rel=1e-3, abs=1e-3)
        assert measured["shift_b_low"] < measured["shift_b"] < measured["shift_b_high"]
    assert summary["gray"]["hue_share"] == 0


def test_true_colours_at_half_strength_are_better_at_equal_colourfulness(
    make_project, make_params, photos, monkeypatch
) -> None:
    make_project("lab", 5)
    lab = get_space("lab")
    _, ab = lab.encode(*map(torch.from_numpy, lab.arrays(photos)))
    monkeypatch.setattr(Model, "predict", lambda model, input: ab / 2)
    evaluate(make_params(batch_size=5, frechet=True), ["lab"])
    found = read_metrics()["lab"]["generated"]
    assert found["gain"] == pytest.approx(2 * SHARE, rel=0.05)
    assert found["ciede2000_ecf"] < 0.5 * found["ciede2000"]
    assert found["frechet_lite2_ecf"] < 0.5 * found["frechet_lite2"]


def test_pale_photos_without_labels(make_project, params, photos, recorded) -> None:
    """What cannot be measured is null and not recorded; no label is a class of its own."""
    tint = np.array([3, 0, -3])
    make_project("rgb", (photos[:2, ..., :1] + tint).clip(0, 255).astype(np.uint8), labels=["", ""])
    evaluate(params, ["rgb"])
    summary = read_metrics()["rgb"]
    # No photo has a chromatic pixel, and two photos have no confidence interval.
    assert summary["generated"]["hue_share"] is None
    assert summary["generated"]["shift_a_low"] is None
    assert "test/hue_share" not in recorded[0]["metrics"]
    assert all(math.isfinite(value) for value in recorded[0]["metrics"].values())
    assert pd.read_csv(paths.PER_PHOTO)["hue_share"].isna().all()
    classes = pd.read_csv(paths.PER_CLASS, keep_default_na=False)
    assert classes[["label", "n"]].to_numpy().tolist() == [["", 2]]


def test_gray_photos_are_refused(make_project, params, photos) -> None:
    make_project("rgb", np.repeat(photos[:2, ..., :1], 3, axis=-1))
    with pytest.raises(ColorganError, match=r"the photos are gray \(mean colourfulness 0.00\)"):
        evaluate(params, ["rgb"])
    assert not paths.REPORTS.exists()


def test_an_empty_test_split_names_its_parameter(make_project, params) -> None:
    make_project("lab", 0)
    with pytest.raises(ColorganError) as caught:
        evaluate(params, ["lab"])
    assert str(caught.value) == (
        "data/processed/lab has no test photos: lab.test_fraction is 0.2 in params.yaml; "
        "it should be large enough for at least one photo, such as 0.2"
    )


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("models/lab/generator.safetensors", "lab.generator.* does not exist: run `dvc repro tr"),
        ("data/processed/lab/dataset.json", "run `dvc repro preprocess@lab`"),
    ],
)
def test_what_is_missing_is_named_with_the_command_to_run(
    make_project, params, recorded, missing: str, sentence: str
) -> None:
    for space in ("rgb", "lab"):
        make_project(space, 2)
    Path(missing).unlink()
    with pytest.raises(ColorganError, match=sentence):
        evaluate(params, ["rgb", "lab"])
    assert not paths.REPORTS.exists()
    assert not recorded


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"model_of": "lab"}, "models/rgb holds a model for lab at 32 px"),
        ({"model_side": 64}, "at 64 px, data/processed/rgb holds rgb photos of 32 px"),
    ],
)
def test_a_model_that_does_not_fit_the_photos_is_refused(
    make_project, params, model, sentence
) -> None:
    make_project("rgb", 2, **model)
    with pytest.raises(ColorganError, match=sentence):
        evaluate(params, ["rgb"])
