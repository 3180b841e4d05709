"""The sentences of the report: each says what the numbers say, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_results import make_hues, make_photos, make_results, make_scores

from colorgan.reporting import findings

RISING = list(np.linspace(10, 20, 40))


def _pair(first: list[float], second: list[float], ids: list[str] | None = None):
    scores = make_scores(len(first))
    return {
        "rgb": replace(make_results("rgb", scores), per_photo=make_photos("rgb", first)),
        "lab": replace(make_results("lab", scores), per_photo=make_photos("lab", second, ids)),
    }


def test_the_space_nearer_the_truth_is_named_with_the_difference_and_its_interval():
    second = [value - 2 + 0.1 * (-1) ** i for i, value in enumerate(RISING)]
    assert findings.compare_spaces(_pair(RISING, second)) == [
        "LAB is nearer the truth: the mean CIEDE2000 of LAB is 13.00, that of RGB 15.00. The "
        "difference is 2.00 (95% interval 1.97 to 2.03, on 40 photos that both hold)."
    ]
    (sentence,) = findings.compare_spaces(_pair(second, RISING))
    assert sentence.startswith("RGB is nearer the truth: the mean CIEDE2000 of RGB is 13.00")


def test_no_winner_is_named_where_there_is_none():
    noisy = [value + 5 * (-1) ** i + 0.3 for i, value in enumerate(RISING)]
    (sentence,) = findings.compare_spaces(_pair(RISING, noisy))
    assert sentence.startswith("Neither RGB nor LAB is clearly nearer the truth: the mean")
    assert "The difference is 0.30 (95% interval −1.27 to 1.87" in sentence
    sentences = findings.compare_spaces(_pair(RISING, RISING, ids=[f"q{i}" for i in range(40)]))
    assert "share 0 photos of their test photos: too few" in sentences[0]
    (sentence,) = findings.compare_spaces({"lab": make_results("lab")})
    assert sentence == "Only LAB was evaluated: there is nothing to compare."


def test_photos_that_are_nearer_the_truth_than_gray_are_counted():
    assert findings.against_gray(make_results().per_photo) == [
        "By CIEDE2000, 4 of 7 photos are nearer the truth coloured than gray."
    ]


@pytest.mark.parametrize(
    ("axis", "shift", "color"),
    [("a", -2.0, "green"), ("a", 2.0, "red"), ("b", -2.0, "blue"), ("b", 2.0, "yellow")],
)
def test_the_sign_of_a_bias_names_its_color(axis, shift, color):
    ends = {f"shift_{axis}_low": shift - 1, f"shift_{axis}_high": shift + 1}
    scores = make_scores(**{f"shift_{axis}": shift}, **ends)
    sentence = findings.color_bias(scores)["ab".index(axis)]
    assert sentence.startswith(f"There is a {color} bias: mean shift along {axis}")


def test_no_bias_is_claimed_that_is_not_certain_or_not_visible():
    assert findings.color_bias(make_scores())[0] == (
        "No clear green or red bias: the interval includes zero (mean shift along a 0.2, 95% "
        "interval −0.5 to 0.9)."
    )
    scores = make_scores(shift_b=-0.9, shift_b_low=-1.1, shift_b_high=-0.7)
    assert findings.color_bias(scores)[1].startswith("No visible blue or yellow bias")
    sentence = findings.color_bias(make_scores(shift_b_low=None))[1]
    assert sentence == "A blue or yellow bias could not be measured: too few photos."
    # Gray is bluer still: what lacks is yellow.
    sentence = findings.color_bias(make_scores(gray={"shift_b": -6.0}))[1]
    assert sentence.endswith("so this may be too little yellow rather than too much blue.")


def test_colorfulness_is_compared_with_the_truth():
    for value, said in (
        (48.0, "Too colourful: on average 50% more colourful than the true photos (48.0 against"),
        (16.0, "Too pale: on average 50% less colourful than"),
        (34.0, "About as colourful as the true photos on average (34.0 against 32.0)"),
    ):
        assert findings.colorfulness(make_scores(colorfulness=value))[0].startswith(said)


def test_hues():
    hues = make_hues("rgb")
    balanced = findings.hue_balance(hues)
    assert balanced[0].startswith("36% of the generated pixels have a visible colour")
    assert balanced[1:] == ["No hue is off by 1% of all pixels and a factor of 1.25."]
    hues.loc[hues["hue"] == 285, "generated"] += 0.05
    hues.loc[hues["hue"].between(110, 170), "generated"] = 0.0
    assert findings.hue_balance(hues)[1:] == [
        "Produced too often: blue (14.0% of all pixels against 9.0%).",
        "Produced too seldom: green (0.0% of all pixels against 6.0%).",
    ]


def test_few_photos_call_for_caution():
    for photos, caution in ((99, True), (100, False)):
        sentences = findings.sample_size({"rgb": make_scores(photos), "lab": make_scores(500)})
        assert f"{photos} photos for RGB and 500 photos for LAB" in sentences[0]
        assert any(s.startswith("Caution: with fewer than 100") for s in sentences) is caution
