"""Distances that networks measure: `frechet_lite2` with its real weights, FID and LPIPS without."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from urllib.error import URLError

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image import fid, lpip

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.evaluation.evaluate import evaluate
from colorgan.evaluation.frechet import (
    Moments,
    NetworkDistances,
    frechet_distance,
)

CPU = torch.device("cpu")


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


def test_gray_is_farther_from_the_truth_than_a_little_noise(
    make_params: Callable, real_photos: UInt8Array
) -> None:
    real_photos = real_photos[:10]
    noise = np.random.default_rng(0).normal(0, 2, real_photos.shape)
    noised = np.clip(real_photos + noise, 0, 255).astype(np.uint8)
    distances = NetworkDistances(make_params(frechet=True).evaluate, CPU)
    for rows in (slice(0, 4), slice(4, None)):
        photos = real_photos[rows]
        gray = np.repeat(photos.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
        distances.update({"gray": gray, "truth": photos, "generated": noised[rows]})
    values = distances.compute()
    assert 1 < values["generated"]["frechet_lite2"] < 0.9 * values["gray"]["frechet_lite2"]


@pytest.mark.parametrize("count", [3, 1])
def test_the_stage_reports_it_if_there_are_photos_enough(
    make_project, make_params, recorded, offline, count: int
) -> None:
    make_project("lab", count)
    evaluate(make_params(frechet=True, fid=True), ["lab"])
    summary = json.loads(paths.METRICS.read_text())["lab"]
    for name in ("frechet_lite2", "fid"):
        values = [summary[kind][name] for kind in ("generated", "gray")]
        if count == 1:
            assert values == [None, None]
            assert f"test/{name}" not in recorded[0]["metrics"]
        else:
            assert min(values) > 0
            assert recorded[0]["metrics"][f"test/{name}"] == values[0]
            assert recorded[0]["metrics"][f"test/gray_{name}"] == values[1]


class MeanColor(nn.Module):
    """Features that are known: the mean of R, G and B."""

    num_features = 3

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.dtype == torch.uint8
        return pictures.float().mean(dim=(2, 3))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of torchmetrics that need no download."""
    monkeypatch.setattr(
        fid,
        "FrechetInceptionDistance",
        partial(lambda original, feature: original(MeanColor()), fid.FrechetInceptionDistance),
    )
    torch.manual_seed(0)
    monkeypatch.setattr(lpip, "_NoTrainLpips", partial(lpip._NoTrainLpips, pnet_rand=True))


def test_fid_and_lpips_have_the_values_of_known_features(make_params, offline) -> None:
    truth = np.random.default_rng(0).integers(0, 200, (6, 64, 64, 3), dtype=np.uint8)
    truth //= np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    redder = truth + np.array([30, 0, 0], np.uint8)
    distances = NetworkDistances(make_params(fid=True, lpips=True).evaluate, CPU)
    for start in range(0, 6, 2):
        rows = slice(start, start + 2)
        distances.update({"gray": truth[rows], "truth": truth[rows], "generated": redder[rows]})
    values = distances.compute()
    assert values["gray"] == pytest.approx({"fid": 0, "lpips": 0}, abs=1e-3)
    assert values["generated"]["fid"] == pytest.approx(30**2, rel=1e-3)
    assert values["generated"]["lpips"] > 0.001


def test_a_failed_download_names_the_parameter(make_project, make_params, monkeypatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(fid, "FrechetInceptionDistance", unreachable)
    make_project("lab", 2)
    with pytest.raises(ColorganError) as caught:
        evaluate(make_params(fid=True), ["lab"])
    assert str(caught.value) == (
        "evaluate.fid is true, but the weights of its network could not be loaded "
        "(<urlopen error Name or service not known>): set evaluate.fid to false in "
        "params.yaml, or run once with a connection to the internet"
    )
    assert not paths.REPORTS.exists()
