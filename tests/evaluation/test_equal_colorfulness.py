"""The score at equal colourfulness: no pale and no garish model can win it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.evaluation.equal_colorfulness import (
    SHARE,
    WORST,
    EqualColorfulness,
    GainSearch,
    at_gain,
    ciede2000_ecf,
    equal_colorfulness,
)
from colorgan.evaluation.metrics import ciede2000, colorfulness
from colorgan.spaces import SPACES, get_space


@pytest.fixture
def lab(real_photos: UInt8Array) -> tuple[Tensor, Tensor]:
    """L / 50 - 1 and ab / 110 of the photos."""
    return get_space("lab").encode(
        *(torch.from_numpy(x) for x in get_space("lab").arrays(real_photos))
    )


def score(found: EqualColorfulness, truth: UInt8Array) -> float:
    return ciede2000_ecf(ciede2000(found.pictures(), truth), found.reached)


def test_the_strength_of_the_colours_does_not_matter(
    lab: tuple[Tensor, Tensor], real_photos: UInt8Array
) -> None:
    """Of a model that is right on average only: colours blurred, and a cast."""
    lightness, ab = lab
    ab = torch.nn.functional.avg_pool2d(ab, 9, 1, 4) + 0.02
    aim = SHARE * colorfulness(real_photos).mean()
    found = {
        factor: equal_colorfulness(lightness, factor * ab, real_photos)
        for factor in (1.0, 0.6, 1.7, 3.0, 10.0)
    }
    for factor, one in found.items():
        assert one.reached
        assert one.gain * factor == pytest.approx(found[1.0].gain, rel=0.01)
        assert colorfulness(one.pictures()).mean() == pytest.approx(aim, rel=0.005)
        assert score(one, real_photos) == pytest.approx(score(found[1.0], real_photos), rel=0.005)


def test_the_truth_is_best_and_gray_worst(
    lab: tuple[Tensor, Tensor], real_photos: UInt8Array
) -> None:
    truth = equal_colorfulness(*lab, real_photos)
    assert truth.gain == pytest.approx(SHARE, abs=0.05)
    gray = equal_colorfulness(lab[0], 0.01 * lab[1], real_photos)
    assert (gray.gain, gray.reached) == (4.0, False)
    assert score(truth, real_photos) < 3 < score(gray, real_photos) == WORST


def test_batches_give_the_same_as_all_at_once(
    lab: tuple[Tensor, Tensor], real_photos: UInt8Array
) -> None:
    search = GainSearch()
    for start in range(0, len(real_photos), 4):
        rows = slice(start, start + 4)
        search.update(lab[0][rows], lab[1][rows], real_photos[rows])
    once = equal_colorfulness(*lab, real_photos)
    assert search.compute() == (pytest.approx(once.gain, rel=1e-6), True)


def test_gray_photos_are_refused(lab: tuple[Tensor, Tensor]) -> None:
    gray = at_gain(*lab, 0.0)
    with pytest.raises(ColorganError, match=r"`min_chroma` in params.yaml, such as 2"):
        equal_colorfulness(*lab, gray)


@pytest.mark.parametrize("name", SPACES)
def test_each_space_has_lab_of_its_output(name: str, real_photos: UInt8Array) -> None:
    space = get_space(name)
    arrays = (np.stack(x) for x in zip(*map(space.arrays, real_photos), strict=True))
    input, target = space.encode(*map(torch.from_numpy, arrays))
    pictures = at_gain(*space.lab_of(input, target), 1.0)
    # The L is that of the gray photo, which for RGB is not quite the photo's own.
    assert ciede2000(pictures, real_photos).mean() < {"rgb": 3, "lab": 1}[name]
    gray = at_gain(*space.lab_of(input, space.gray_output(input)), 4.0)
    assert np.ptp(gray.astype(int), axis=-1).max() <= 1
