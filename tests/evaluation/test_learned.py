"""FID and LPIPS with networks of random weights in place of the downloaded ones."""

from __future__ import annotations

import json
from functools import partial
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image import fid, lpip

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.evaluation import learned
from colorgan.evaluation.evaluate import evaluate
from colorgan.evaluation.learned import LearnedMetrics
from colorgan.model import ColoredBatch

CPU = torch.device("cpu")


class MeanColor(nn.Module):
    """Features that are known: the mean of R, G and B."""

    num_features = 3

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.dtype == torch.uint8
        return pictures.float().mean(dim=(2, 3))


@pytest.fixture
def offline(monkeypatch) -> None:
    """Networks that need no download."""
    monkeypatch.setattr(
        learned,
        "FrechetInceptionDistance",
        lambda feature: fid.FrechetInceptionDistance(feature=MeanColor()),
    )
    torch.manual_seed(0)
    monkeypatch.setattr(lpip, "_NoTrainLpips", partial(lpip._NoTrainLpips, pnet_rand=True))


def batch(count: int = 6) -> ColoredBatch:
    truth = np.random.default_rng(0).integers(0, 200, (count, 64, 64, 3), dtype=np.uint8)
    truth //= np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None]
    gray = np.repeat(truth.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    return ColoredBatch(gray=gray, truth=truth, generated=truth)


def test_the_truth_has_no_distance_to_itself_and_the_gray_picture_has(make_params, offline) -> None:
    metrics = LearnedMetrics(make_params(fid=True, lpips=True).evaluate, CPU)
    metrics.update(batch())
    values = metrics.compute()
    assert values["generated"] == pytest.approx({"fid": 0, "lpips": 0}, abs=1e-3)
    assert values["gray"]["lpips"] > 0.01


def test_fid_of_a_shift_of_red_is_its_square(make_params, offline) -> None:
    truth = batch().truth
    redder = truth + np.array([30, 0, 0], np.uint8)
    metrics = LearnedMetrics(make_params(fid=True).evaluate, CPU)
    for start in range(0, 6, 2):
        rows = slice(start, start + 2)
        metrics.update(ColoredBatch(gray=truth[rows], truth=truth[rows], generated=redder[rows]))
    values = metrics.compute()
    assert values["generated"]["fid"] == pytest.approx(30**2, rel=1e-3)
    assert values["gray"] == {"fid": pytest.approx(0, abs=1e-2)}


def test_the_stage_reports_them_beside_the_others(
    write_arrays, write_model, make_photos, make_params, recorded, offline
) -> None:
    write_arrays("lab", make_photos(3), ["a", "b", "c"])
    write_model("lab")
    evaluate(make_params(fid=True), ["lab"])
    summary = json.loads(paths.METRICS.read_text())["lab"]
    assert summary["generated"]["fid"] > 0
    assert summary["gray"]["fid"] >= 0
    assert "lpips" not in summary["generated"]
    assert recorded[0]["metrics"]["test/gray_fid"] == summary["gray"]["fid"]


def test_a_single_photo_has_no_fid(
    write_arrays, write_model, make_photos, make_params, recorded, offline
) -> None:
    write_arrays("lab", make_photos(1), ["a"])
    write_model("lab")
    evaluate(make_params(fid=True), ["lab"])
    assert json.loads(paths.METRICS.read_text())["lab"]["generated"]["fid"] is None


@pytest.mark.parametrize(
    ("name", "builder"),
    [
        ("fid", "FrechetInceptionDistance"),
        ("lpips", "LearnedPerceptualImagePatchSimilarity"),
    ],
)
def test_a_failed_download_names_the_parameter(
    name, builder, make_project, make_params, recorded, monkeypatch
) -> None:
    def unreachable(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr(learned, builder, unreachable)
    make_project(lab=2)
    with pytest.raises(ColorganError) as caught:
        evaluate(make_params(**{name: True}), ["lab"])
    assert str(caught.value) == (
        f"evaluate.{name} is true, but the weights of its network could not be loaded "
        f"(<urlopen error Name or service not known>): set evaluate.{name} to false in "
        "params.yaml, or run once with a connection to the internet"
    )
    assert not paths.REPORTS.exists()
