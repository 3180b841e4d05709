"""`frechet_lite2` with its real weights, and the distance by its formula."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.evaluation.evaluate import evaluate
from colorgan.evaluation.frechet import Lite2Features, Moments, frechet_distance


def moments(features: np.ndarray, batch: int = 7) -> Moments:
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


@pytest.mark.parametrize("count", [300, 12])  # with 12 the covariances are of rank 11
def test_the_distance_is_the_formula_by_scipys_matrix_root(count: int) -> None:
    one, other = sets_of_features(count, 40)
    covariances = np.cov(one.T), np.cov(other.T)
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(
        covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )
    # scipy is no more exact than this where the rank is low.
    precision = 1e-9 if count > 40 else 1e-4
    assert frechet_distance(moments(one), moments(other)) == pytest.approx(expected, rel=precision)


def test_gray_is_farther_from_the_truth_than_a_little_noise(real_photos: UInt8Array) -> None:
    real_photos = real_photos[:10]
    noise = np.random.default_rng(0).normal(0, 2, real_photos.shape)
    noised = np.clip(real_photos + noise, 0, 255).astype(np.uint8)
    gray = np.repeat(real_photos.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    features = Lite2Features(torch.device("cpu"))
    truth, near, far = (moments(features(photos)) for photos in (real_photos, noised, gray))
    assert 1 < frechet_distance(near, truth) < 0.9 * frechet_distance(far, truth)


@pytest.mark.parametrize("count", [3, 1])
def test_the_stage_reports_it_if_there_are_photos_enough(
    make_project, make_params, recorded, count: int
) -> None:
    make_project("lab", count)
    evaluate(make_params(frechet=True), ["lab"])
    summary = json.loads(paths.METRICS.read_text())["lab"]
    values = [summary[kind]["frechet_lite2"] for kind in ("generated", "gray")]
    if count == 1:
        assert values == [None, None]
        assert "test/frechet_lite2" not in recorded[0]["metrics"]
    else:
        assert min(values) > 0
        assert recorded[0]["metrics"]["test/frechet_lite2"] == values[0]
        assert recorded[0]["metrics"]["test/gray_frechet_lite2"] == values[1]
