"""The measures, compared with values worked out by hand or published."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colorgan.color import UInt8Array
from colorgan.evaluation import metrics

SIDE = 24


def flat(red: int, green: int, blue: int, side: int = SIDE) -> UInt8Array:
    """A picture of a single colour."""
    return np.full((side, side, 3), (red, green, blue), np.uint8)


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> UInt8Array:
    """A picture of two colours, half and half."""
    return np.concatenate((flat(*left), flat(*right)), axis=1)


def noise(seed: int, count: int = 3) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def lab_of_hues(degrees: np.ndarray, chroma: float, lightness: float = 60.0) -> np.ndarray:
    """Lab `(H, W, 3)` with the hues given `(H, W)`."""
    angle = np.radians(degrees)
    level = np.full_like(angle, lightness)
    lab = np.stack((level, chroma * np.cos(angle), chroma * np.sin(angle)), -1)
    return lab.astype(np.float32)


@pytest.mark.filterwarnings("error")
def test_psnr_is_capped_at_100_db() -> None:
    expected = 10 * math.log10(255**2 / 10**2)
    assert metrics.psnr(flat(110, 90, 60), flat(100, 100, 50)) == pytest.approx(expected)
    picture = noise(0)
    assert metrics.psnr(picture, picture).tolist() == [100.0] * 3


@pytest.mark.parametrize(
    ("lab", "truth", "expected"),
    [  # pairs 1 and 17 of the test data of Sharma et al. (2005), table 1
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ],
)
def test_ciede2000_has_the_values_of_its_paper(lab, truth, expected) -> None:
    pictures = [np.full((2, 2, 3), values, np.float32) for values in (lab, truth)]
    assert metrics.ciede2000(*pictures) == pytest.approx(expected, abs=1e-3)


def test_colorfulness_in_its_two_definitions() -> None:
    gray = np.repeat(noise(0)[..., :1], 3, axis=-1)
    assert metrics.colorfulness(gray).tolist() == [0, 0, 0]
    # rg = 200 - 100 = 100, yb = 150 - 50 = 100, no spread.
    assert metrics.colorfulness(flat(200, 100, 50)) == pytest.approx(0.3 * math.hypot(100, 100))
    # rg is +100 and -100, yb is 50 on both sides.
    picture = halves((100, 0, 0), (0, 100, 0))
    assert metrics.colorfulness(picture) == pytest.approx(100 + 0.3 * 50)
    assert metrics.colorfulness_abs(picture) == pytest.approx(0 + 0.3 * math.hypot(100, 50))


def test_a_hue_is_right_up_to_the_tolerance() -> None:
    truth = lab_of_hues(np.full((2, 4), 10.0), chroma=20)
    # 350 is 20 degrees from 10 across 0; 45 and 330 are too far.
    generated = lab_of_hues(np.array([[10, 39, 45, 350], [330, 190, 341, 10]]), chroma=5)
    assert metrics.hue_share(generated, truth) == pytest.approx(5 / 8)


def test_hues_count_where_the_truth_has_one_and_are_wrong_where_the_result_has_none() -> None:
    hues = np.full((1, 4), 100.0)
    truth = np.concatenate((lab_of_hues(hues, 9.5), lab_of_hues(hues, 10.5)))
    wrong_where_pale = np.concatenate((lab_of_hues(hues + 180, 20), lab_of_hues(hues, 20)))
    assert metrics.hue_share(wrong_where_pale, truth) == 1
    assert metrics.hue_share(lab_of_hues(hues, 1.9), lab_of_hues(hues, 20)) == 0
    assert metrics.hue_share(lab_of_hues(hues, 2.1), lab_of_hues(hues, 20)) == 1


@pytest.mark.filterwarnings("error")
def test_a_photo_without_color_has_no_hue_share() -> None:
    shares = metrics.hue_share(
        np.stack([flat(255, 0, 0)] * 2), np.stack([flat(9, 9, 9), flat(200, 0, 0)])
    )
    assert math.isnan(shares[0])
    assert shares[1] == 1


def test_blue_in_place_of_gray_shifts_by_the_lab_of_blue() -> None:
    shift_a, shift_b = metrics.color_shift(flat(0, 0, 255), flat(128, 128, 128))
    # sRGB blue is Lab (32.3, 79.2, -107.9); gray has no a and b.
    assert shift_a == pytest.approx(79.2, abs=0.1)
    assert shift_b == pytest.approx(-107.9, abs=0.1)


def test_the_histogram_has_shares_of_all_pixels() -> None:
    for hue, bin in ((5, 0), (175, 17), (185, 18), (355, 35)):
        lab = lab_of_hues(np.full((4, 4), float(hue)), chroma=30)
        histogram = metrics.hue_histogram(lab)
        assert (histogram.shape, histogram[bin], histogram.sum()) == ((36,), 1, 1)
        assert metrics.hue_bin_centers()[bin] == pytest.approx(hue)
    histogram = metrics.hue_histogram(halves((0, 0, 255), (90, 90, 90)))
    # sRGB blue has a hue of 306 degrees.
    assert histogram[30] == histogram.sum() == 0.5
