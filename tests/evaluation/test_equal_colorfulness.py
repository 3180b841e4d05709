"""The score at equal colourfulness: no pale and no garish model can win it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from colorgan.color import UInt8Array
from colorgan.config import SPACES
from colorgan.evaluation.equal_colorfulness import (
    SHARE,
    WORST,
    at_gain,
    ciede2000_ecf,
    equal_gain,
)
from colorgan.evaluation.metrics import ciede2000, colorfulness
from colorgan.spaces import get_space


@pytest.fixture
def lab(real_photos: UInt8Array) -> tuple[Tensor, Tensor]:
    """L / 50 - 1 and ab / 110 of the photos."""
    return get_space("lab").encode(
        *(torch.from_numpy(x) for x in get_space("lab").arrays(real_photos))
    )


def search(
    lightness: Tensor, ab: Tensor, truth: UInt8Array, n: int = 99
) -> tuple[float, bool, UInt8Array, float]:
    """Feed `n` photos at a time; return the gain, whether it is enough, pictures and score."""
    batches = [slice(start, start + n) for start in range(0, len(truth), n)]
    gain, reached = equal_gain((lightness[rows], ab[rows], truth[rows]) for rows in batches)
    pictures = at_gain(lightness, ab, gain)
    return gain, reached, pictures, ciede2000_ecf(ciede2000(pictures, truth), reached)


def test_the_strength_of_the_colours_does_not_matter(lab, real_photos) -> None:
    """Of a model that is right on average only: colours blurred, and a cast."""
    lightness, ab = lab
    ab = torch.nn.functional.avg_pool2d(ab, 9, 1, 4) + 0.02
    aim = SHARE * colorfulness(real_photos).mean()
    expected, _, _, best = search(lightness, ab, real_photos, n=4)
    for factor in (1.0, 0.6, 1.7, 3.0, 10.0):
        gain, reached, pictures, score = search(lightness, factor * ab, real_photos)
        assert reached
        assert gain * factor == pytest.approx(expected, rel=0.01)
        assert colorfulness(pictures).mean() == pytest.approx(aim, rel=0.005)
        assert score == pytest.approx(best, rel=0.005)


def test_the_truth_is_best_and_gray_worst(lab, real_photos) -> None:
    gain, _, _, score = search(*lab, real_photos)
    assert gain == pytest.approx(SHARE, abs=0.05)
    assert score < 3
    gain, reached, _, score = search(lab[0], 0.01 * lab[1], real_photos)
    assert (gain, reached, score) == (4.0, False, WORST)


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
