"""The stage from end to end: arrays and weights on disk in, four reports and a record out."""

from __future__ import annotations

import json
import math
import sys
import tracemalloc
from dataclasses import replace
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
from colorgan.evaluation.evaluate import evaluate, measure, open_subject
from colorgan.evaluation.photo import MEASURES
from colorgan.io import sha256
from colorgan.model import WEIGHTS, Model

REPORTS = (paths.METRICS, paths.PER_PHOTO, paths.PER_CLASS, paths.HUES)
MEANS = {*MEASURES, "colorfulness_gap", "colorfulness_abs_gap"}
INTERVALS = {f"shift_{axis}_{end}" for axis in "ab" for end in ("low", "high")}


def strict_json(path: Path) -> Any:
    """Read JSON as the standard has it: without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def per_photo() -> pd.DataFrame:
    return pd.read_csv(paths.PER_PHOTO, keep_default_na=False, na_values={"hue_share": [""]})


def test_both_spaces_make_four_reports(make_project, params, recorded) -> None:
    make_project(rgb=5, lab=3)
    returned = evaluate(params, ["rgb", "lab"])

    content = strict_json(paths.METRICS)
    assert list(content) == ["rgb", "lab"]
    assert content["rgb"]["photos"] == 5
    assert content["lab"]["photos"] == 3
    for summary in content.values():
        assert set(summary["generated"]) == set(summary["gray"]) == MEANS | INTERVALS
        assert set(summary["truth"]) == {"colorfulness", "colorfulness_abs"}
    photos = per_photo()
    assert photos["space"].tolist() == ["rgb"] * 5 + ["lab"] * 3
    assert photos["photo"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert photos["id"].tolist()[:2] == ["photo0", "photo1"]
    assert photos["label"].tolist()[:3] == ["forest", "sea", "forest"]
    assert list(returned.columns) == list(photos.columns)
    assert len(returned) == len(photos)


def test_a_row_is_measured_on_the_photo_it_names(make_project, params, recorded) -> None:
    make_project(lab=5)
    evaluate(params, ["lab"])
    # All photos at once, where the stage goes through them two at a time.
    split = open_split(paths.processed("lab"), "test")
    (batch,) = Model.load(paths.model("lab")).colorize_split(split, batch_size=5)
    photos = per_photo()
    expected = {
        "psnr": metrics.psnr(batch.generated, batch.truth),
        "ciede2000": metrics.ciede2000(batch.generated, batch.truth),
        "gray_psnr": metrics.psnr(batch.gray, batch.truth),
        "gray_ssim": metrics.ssim(batch.gray, batch.truth),
        "colorfulness": metrics.colorfulness(batch.generated),
        "truth_colorfulness": metrics.colorfulness(batch.truth),
        "truth_colorfulness_abs": metrics.colorfulness_abs(batch.truth),
        "shift_b": metrics.color_shift(batch.generated, batch.truth)[1],
        "gray_shift_a": metrics.color_shift(batch.gray, batch.truth)[0],
    }
    for column, values in expected.items():
        assert photos[column].tolist() == pytest.approx(values.tolist(), rel=2e-3, abs=2e-3), column


def test_metrics_are_means_over_the_photos(make_project, params, recorded) -> None:
    make_project(rgb=5)
    evaluate(params, ["rgb"])
    photos, summary = per_photo(), strict_json(paths.METRICS)["rgb"]
    for name in MEASURES:
        assert summary["generated"][name] == pytest.approx(photos[name].mean(), rel=1e-4, abs=1e-4)
        assert summary["gray"][name] == pytest.approx(
            photos[f"gray_{name}"].mean(), rel=1e-4, abs=1e-4
        )
    truth = photos["truth_colorfulness"].mean()
    assert summary["truth"]["colorfulness"] == pytest.approx(truth, rel=1e-4)
    for kind in ("generated", "gray"):
        gap = abs(summary[kind]["colorfulness"] - truth)
        assert summary[kind]["colorfulness_gap"] == pytest.approx(gap, abs=1e-3)
        assert summary[kind]["shift_b_low"] < summary[kind]["shift_b"]
        assert summary[kind]["shift_b"] < summary[kind]["shift_b_high"]


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_the_gray_picture_is_gray(space, make_project, params, recorded) -> None:
    make_project(**{space: 3})
    evaluate(params, [space])
    gray = strict_json(paths.METRICS)[space]["gray"]
    assert gray["hue_share"] == 0
    assert gray["colorfulness"] < 0.5
    assert gray["colorfulness_gap"] > 5


def test_classes_have_their_own_means(make_project, params, recorded) -> None:
    make_project(lab=5, rgb=3)
    evaluate(params, ["rgb", "lab"])
    photos, classes = per_photo(), pd.read_csv(paths.PER_CLASS)
    assert classes[["space", "label", "n"]].to_numpy().tolist() == [
        ["rgb", "forest", 2],
        ["rgb", "sea", 1],
        ["lab", "forest", 3],
        ["lab", "sea", 2],
    ]
    sea = photos[(photos["space"] == "lab") & (photos["label"] == "sea")]
    assert classes["psnr"][3] == pytest.approx(sea["psnr"].mean(), rel=1e-5)
    assert classes["gray_ciede2000"][3] == pytest.approx(sea["gray_ciede2000"].mean(), rel=1e-5)


def test_photos_without_labels_are_one_class(
    write_arrays, write_model, make_photos, params, recorded
) -> None:
    write_arrays("lab", make_photos(3), ["", "", ""])
    write_model("lab")
    evaluate(params, ["lab"])
    classes = pd.read_csv(paths.PER_CLASS, keep_default_na=False)
    assert classes[["label", "n"]].to_numpy().tolist() == [["", 3]]


def test_hues_are_shares_of_all_pixels(make_project, params, recorded) -> None:
    make_project(rgb=3)
    evaluate(params, ["rgb"])
    hues = pd.read_csv(paths.HUES)
    assert list(hues.columns) == ["space", "hue", "truth", "generated"]
    assert hues["hue"].tolist() == [5 + 10 * i for i in range(36)]
    split = open_split(paths.processed("rgb"), "test")
    (batch,) = Model.load(paths.model("rgb")).colorize_split(split, batch_size=3)
    for column in ("truth", "generated"):
        histograms = metrics.hue_histogram(
            getattr(batch, column), chromatic=params.evaluate.chromatic
        )
        expected = histograms.mean(axis=0).tolist()
        assert sum(expected) > 0
        assert hues[column].tolist() == pytest.approx(expected, rel=1e-5, abs=2e-3)


def test_a_second_run_writes_the_same_bytes(make_project, params, recorded) -> None:
    make_project(rgb=3, lab=3)
    evaluate(params, ["rgb", "lab"])
    first = {path: path.read_bytes() for path in REPORTS}
    evaluate(params, ["rgb", "lab"])
    assert {path: path.read_bytes() for path in REPORTS} == first
    assert sorted(path.name for path in paths.REPORTS.iterdir()) == sorted(p.name for p in REPORTS)


def test_one_space_alone(make_project, params, recorded) -> None:
    make_project(rgb=2, lab=2)
    evaluate(params, ["rgb", "lab"])
    evaluate(params, ["lab"])
    assert list(strict_json(paths.METRICS)) == ["lab"]
    for path in (paths.PER_PHOTO, paths.PER_CLASS, paths.HUES):
        assert set(pd.read_csv(path)["space"]) == {"lab"}


def test_photos_without_color_are_left_out_of_the_hue_share(
    write_arrays, write_model, make_photos, params, recorded
) -> None:
    photos = make_photos(3)
    photos[1] = photos[1][..., :1]
    write_arrays("rgb", photos, ["a", "b", "c"])
    write_model("rgb")
    evaluate(params, ["rgb"])
    shares = per_photo()["hue_share"]
    assert shares.isna().tolist() == [False, True, False]
    assert ",," in paths.PER_PHOTO.read_text().splitlines()[2]
    mean = strict_json(paths.METRICS)["rgb"]["generated"]["hue_share"]
    assert mean == pytest.approx(np.mean([shares[0], shares[2]]), rel=1e-4)


def test_what_is_not_known_is_null(
    write_arrays, write_model, make_photos, params, recorded
) -> None:
    gray = np.repeat(make_photos(2)[..., :1], 3, axis=-1)
    write_arrays("rgb", gray, ["a", "b"])
    write_model("rgb")
    evaluate(params, ["rgb"])
    generated = strict_json(paths.METRICS)["rgb"]["generated"]
    # No photo has a chromatic pixel, and two photos have no confidence interval.
    assert generated["hue_share"] is None
    assert generated["shift_a_low"] is None
    assert strict_json(paths.METRICS)["rgb"]["gray"]["psnr"] == 100
    assert "test/hue_share" not in recorded[0]["metrics"]


def test_each_space_is_recorded_with_its_weights(make_project, params, recorded) -> None:
    make_project(rgb=3, lab=3)
    evaluate(params, ["rgb", "lab"])
    assert [call["stage"] for call in recorded] == ["evaluate_rgb", "evaluate_lab"]
    content = strict_json(paths.METRICS)
    for call in recorded:
        space = call["space"]
        assert call["generator_sha256"] == sha256(paths.model(space) / WEIGHTS)
        assert call["metrics"]["test/psnr"] == content[space]["generated"]["psnr"]
        assert call["metrics"]["test/gray_psnr"] == content[space]["gray"]["psnr"]
        assert (
            call["metrics"]["test/truth_colorfulness"] == (content[space]["truth"]["colorfulness"])
        )
        assert all(math.isfinite(value) for value in call["metrics"].values())
        assert set(call["artifacts"]) == set(REPORTS)


def test_mlflow_gets_the_metrics(make_project, params, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    make_project(lab=3)
    evaluate(params, ["lab"])
    runs = mlflow.MlflowClient().search_runs(
        [experiment.experiment_id for experiment in mlflow.search_experiments()]
    )
    psnr = strict_json(paths.METRICS)["lab"]["generated"]["psnr"]
    assert [run.data.metrics.get("test/psnr") for run in runs] == [pytest.approx(psnr)]


def test_only_a_batch_of_photos_is_held(make_project, params, recorded, monkeypatch) -> None:
    make_project(lab=5)
    sizes = []
    whole = Model.colorize_batch
    monkeypatch.setattr(
        Model, "colorize_batch", lambda self, x: sizes.append(len(x)) or whole(self, x)
    )
    evaluate(params, ["lab"])
    assert sizes == [2, 2, 1]


def test_memory_grows_by_the_rows_alone(make_project, params, recorded) -> None:
    make_project(lab=44)
    whole = open_subject(params, "lab", torch.device("cpu"))
    peaks = []
    for count in (4, 4, 44):  # the first time pays for what is imported and cached
        subject = replace(whole, split=whole.split.take(range(count)))
        tracemalloc.start()
        measure(subject, params.evaluate)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A row and its share of the bootstrap take 3 KB; the three uint8 pictures would add 9 KB.
    assert peaks[2] - peaks[1] < 40 * 6000


def test_torchmetrics_is_not_imported_unless_asked_for(
    make_project, params, recorded, monkeypatch
) -> None:
    make_project(lab=2)
    # A module that is None cannot be imported.
    monkeypatch.setitem(sys.modules, "colorgan.evaluation.learned", None)
    evaluate(params, ["lab"])


# -- what is refused, and with which sentence -------------------------------------------------


def test_an_empty_test_split_names_its_parameter(
    write_arrays, write_model, make_photos, params, recorded
) -> None:
    write_arrays("lab", make_photos(0), [])
    write_model("lab")
    with pytest.raises(ColorganError) as caught:
        evaluate(params, ["lab"])
    assert str(caught.value) == (
        "data/processed/lab has no test photos: lab.test_fraction is 0.2 in params.yaml; "
        "it should be large enough for at least one photo, such as 0.2"
    )


def test_a_missing_model_says_what_to_run(make_project, params, recorded) -> None:
    make_project(rgb=2, lab=2)
    (paths.model("lab") / WEIGHTS).unlink()
    with pytest.raises(ColorganError, match=r"models/lab/generator.safetensors does not exist: "
                       r"run `dvc repro train_lab`"):  # fmt: skip
        evaluate(params, ["rgb", "lab"])
    assert not paths.REPORTS.exists()
    assert not recorded


def test_missing_arrays_say_what_to_run(write_model, params, recorded) -> None:
    write_model("rgb")
    with pytest.raises(ColorganError, match="run `dvc repro preprocess@rgb`"):
        evaluate(params, ["rgb"])


def test_a_model_of_the_other_space_is_refused(
    write_arrays, write_model, make_photos, params, recorded
) -> None:
    write_arrays("rgb", make_photos(2), ["a", "b"])
    write_model("rgb", trained_for="lab")
    with pytest.raises(ColorganError, match="models/rgb holds a model for lab at 32 px"):
        evaluate(params, ["rgb"])


def test_a_model_of_another_size_is_refused(
    write_arrays, write_model, make_photos, params, recorded
) -> None:
    write_arrays("rgb", make_photos(2), ["a", "b"])
    write_model("rgb", side=64)
    with pytest.raises(ColorganError, match="at 64 px, data/processed/rgb holds rgb photos of 32"):
        evaluate(params, ["rgb"])
