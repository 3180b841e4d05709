"""Which space is nearer the truth: only where the paired difference leaves no doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from made_up_results import make_photos, make_results, make_scores

from colorgan.reporting.comparison import compare_spaces

ONES = list(np.linspace(10, 20, 40))


def _pair(first: list[float], second: list[float], ids: list[str] | None = None):
    scores = make_scores(len(first))
    return {
        "rgb": replace(make_results("rgb", scores), per_photo=make_photos("rgb", first)),
        "lab": replace(make_results("lab", scores), per_photo=make_photos("lab", second, ids)),
    }


def test_the_nearer_one_is_named_with_its_lead_and_interval():
    second = [value - 2 + 0.1 * (-1) ** i for i, value in enumerate(ONES)]
    (sentence,) = compare_spaces(_pair(ONES, second))
    assert sentence == (
        "LAB is nearer the truth: its mean CIEDE2000 is 13.00 against 15.00 of RGB, 2.00 less "
        "(95% interval 1.97 to 2.03, on 40 photos that both hold)."
    )


def test_the_first_may_win_too():
    (sentence,) = compare_spaces(_pair(ONES, [value + 2 for value in ONES]))
    assert sentence.startswith("RGB is nearer the truth: its mean CIEDE2000 is 15.00 against 17.00")


def test_a_difference_within_its_uncertainty_names_no_winner():
    noisy = [value + 5 * (-1) ** i + 0.3 for i, value in enumerate(ONES)]
    (sentence,) = compare_spaces(_pair(ONES, noisy))
    assert sentence.startswith("Neither RGB nor LAB is clearly nearer the truth")
    assert "the difference of 0.30 is within its uncertainty" in sentence


def test_few_shared_photos_name_no_winner_and_warn():
    sentences = compare_spaces(_pair(ONES, ONES, ids=[f"q{i}" for i in range(40)]))
    assert "share 0 photos of their test photos: too few" in sentences[0]
    assert "(0 are in both)" in sentences[-1]


def test_other_measures_name_who_is_ahead():
    results = _pair(ONES, ONES)
    ahead = make_scores(40, psnr=23.0, colorfulness_gap=9.0, hue_share=None, frechet_lite2=50.0)
    results["lab"] = replace(results["lab"], scores=ahead)
    results["rgb"] = replace(results["rgb"], scores=make_scores(40, frechet_lite2=60.0))
    assert compare_spaces(results)[1:] == [
        "RGB is ahead in colourfulness gap (2.0 against 9.0).",
        "LAB is ahead in PSNR (23.00 dB against 21.00 dB) and Fréchet distance (Lite2) (50.0 "
        "against 60.0).",
    ]


def test_one_space_has_nothing_to_be_compared_with():
    (sentence,) = compare_spaces({"lab": make_results("lab")})
    assert sentence == "Only LAB was evaluated: there is nothing to compare."
