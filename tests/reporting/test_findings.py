"""The sentences about one space: each branch says what the numbers say, and no more."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from made_up_results import make_classes, make_hues, make_results, make_scores

from colorgan.config import Params
from colorgan.reporting import findings


class TestAgainstGray:
    def test_each_measure_is_better_worse_or_the_same(self):
        sentences = findings.against_gray(make_results())
        assert sentences == [
            "Worse than leaving the photo gray in PSNR by 1.20 dB (21.00 dB against 22.20 dB).",
            "No different from leaving the photo gray in SSIM (0.900 against 0.900).",
            "Better than leaving the photo gray in CIEDE2000 by 2.50 (12.00 against 14.50).",
            "Better than leaving the photo gray in colourfulness gap by 30.0 (2.0 against 32.0).",
            "The coloured photo is nearer the truth than the gray one (by CIEDE2000) on 4 of "
            "7 photos.",
        ]

    def test_a_higher_ciede2000_is_worse(self):
        sentences = findings.against_gray(make_results(scores=make_scores(ciede2000=16.0)))
        assert sentences[2].startswith("Worse than leaving the photo gray in CIEDE2000 by 1.50")

    def test_the_frechet_distance_is_compared_where_there_is_one(self):
        scores = make_scores(gray={"frechet_lite2": 76.8}, frechet_lite2=60.0)
        assert findings.against_gray(make_results(scores=scores))[3] == (
            "Better than leaving the photo gray in Fréchet distance (Lite2) by 16.8 "
            "(60.0 against 76.8)."
        )

    def test_a_null_could_not_be_measured(self):
        sentences = findings.against_gray(make_results(scores=make_scores(ssim=None)))
        assert sentences[1] == "SSIM could not be measured."


class TestColorBias:
    def test_an_interval_with_zero_is_no_bias(self):
        green_red, _ = findings.color_bias(make_scores())
        assert green_red == (
            "No green or red bias can be told: the interval includes zero (mean shift along a 0.2, "
            "95% interval −0.5 to 0.9)."
        )

    def test_a_large_shift_with_zero_in_its_interval_is_no_bias(self):
        scores = make_scores(shift_a=5.0, shift_a_low=-0.1, shift_a_high=10.1)
        assert findings.color_bias(scores)[0].startswith("No green or red bias can be told")

    def test_a_certain_shift_too_small_to_see_is_no_bias(self):
        scores = make_scores(shift_b=-0.9, shift_b_low=-1.1, shift_b_high=-0.7)
        assert findings.color_bias(scores)[1].startswith("No blue or yellow bias to speak of")

    @pytest.mark.parametrize(
        ("axis", "shift", "color"),
        [("a", -2.0, "green"), ("a", 2.0, "red"), ("b", -2.0, "blue"), ("b", 2.0, "yellow")],
    )
    def test_the_sign_names_the_color(self, axis, shift, color):
        ends = {f"shift_{axis}": shift, f"shift_{axis}_low": shift - 1}
        scores = make_scores(**ends, **{f"shift_{axis}_high": shift + 1})
        sentence = findings.color_bias(scores)["ab".index(axis)]
        assert sentence.startswith(f"There is a {color} bias: mean shift along {axis}")

    def test_a_shift_smaller_than_that_of_gray_may_be_a_lack_of_the_opposite(self):
        own, _ = (findings.color_bias(make_scores(gray={"shift_b": g}))[1] for g in (-1.0, -6.0))
        lacking = findings.color_bias(make_scores(gray={"shift_b": -6.0}))[1]
        assert own.endswith("95% interval −4.0 to −2.0.")
        assert lacking.endswith(
            "the photo left gray is shifted by −6.0, so this may be too little yellow rather "
            "than too much blue."
        )

    def test_without_an_interval_nothing_is_claimed(self):
        sentence = findings.color_bias(make_scores(shift_b_low=None))[1]
        assert sentence == (
            "A blue or yellow bias could not be measured: the shift along b has no interval."
        )


class TestColorfulness:
    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (48.0, "Over-colourful: on average 50% more colourful than"),
            (16.0, "Under-colourful: on average 50% less colourful than"),
            (34.0, "About as colourful as the true photos on average (34.0 against 32.0)"),
        ],
    )
    def test_beside_the_truth(self, value, said):
        assert findings.colorfulness(make_scores(colorfulness=value))[0].startswith(said)

    def test_the_right_amount_is_not_called_right_where_gray_is_nearer(self):
        assert len(findings.colorfulness(make_scores(ciede2000=12.0))) == 1
        assert findings.colorfulness(make_scores(ciede2000=15.0))[1].startswith(
            "The right amount of colour is not the right colour"
        )

    def test_null(self):
        assert findings.colorfulness(make_scores(colorfulness=None)) == [
            "Colourfulness could not be measured."
        ]


class TestHues:
    def test_right_hues_stand_beside_chance(self):
        (sentence,) = findings.right_hues(make_scores(), tolerance=30.0)
        assert "within 30° on 40.0% of the pixels; a hue drawn at random would be on 16.7%" in (
            sentence
        )

    def test_right_hues_null(self):
        (sentence,) = findings.right_hues(make_scores(hue_share=None), tolerance=30.0)
        assert "could not be measured" in sentence

    def test_balanced_hues(self):
        sentences = findings.hue_balance(make_hues("rgb"), chromatic=10.0)
        assert sentences[0].startswith("36% of the generated pixels have a visible colour")
        assert sentences[1:] == ["No hue is off by 1% of all pixels and a factor of 1.25."]

    def test_too_much_blue_and_too_little_green(self):
        hues = make_hues("rgb")
        hues.loc[hues["hue"] == 285, "generated"] += 0.05
        hues.loc[hues["hue"].between(110, 170), "generated"] = 0.0
        assert findings.hue_balance(hues, chromatic=10.0)[1:] == [
            "Produced too often: blue (14.0% of all pixels against 9.0%).",
            "Produced too seldom: green (0.0% of all pixels against 6.0%).",
        ]


class TestClasses:
    def test_best_and_worst_with_n_and_those_too_few(self):
        assert findings.classes(make_classes("rgb")) == [
            "Coloured best: cat (10.00, n = 3).",
            "Coloured worst: dog (15.00, n = 3).",
            "1 of 3 classes has fewer than 3 test photos: too few to say anything about them.",
        ]

    def test_all_too_few(self):
        sentences = findings.classes(make_classes("rgb").assign(n=2))
        assert sentences[0] == "Too few classes have enough test photos to rank them."
        assert sentences[1].startswith("3 of 3 classes have fewer than 3")

    def test_no_labels(self):
        table = pd.DataFrame({"label": [""], "n": [40], "ciede2000": [10.0]})
        assert findings.classes(table) == ["The test photos carry no class labels."]


@pytest.mark.parametrize(("photos", "caution"), [(99, True), (100, False)])
def test_few_photos_call_for_caution(photos, caution):
    sentences = findings.sample_size({"rgb": make_scores(photos), "lab": make_scores(500)})
    assert f"{photos} photos for RGB and 500 photos for LAB" in sentences[0]
    assert any(s.startswith("Caution: with fewer than 100") for s in sentences) is caution


class TestAbsentMeasures:
    def test_off(self, params: Params):
        off = params.evaluate.model_copy(update={"frechet": False})
        sentences = findings.absent_measures({"rgb": make_scores()}, off)
        name = "Fréchet distance (Lite2)"
        assert sentences[0] == f"{name} was not computed: evaluate.frechet is off."
        assert sentences[1].startswith("FID was not computed: evaluate.fid is off, because")
        assert sentences[2].startswith("LPIPS was not computed: evaluate.lpips is off, because")
        assert "not how natural they look" in sentences[3]

    def test_on_but_unknown_as_for_a_single_photo(self, params: Params):
        scores = make_scores(frechet_lite2=None)
        sentences = findings.absent_measures({"rgb": scores}, params.evaluate)
        assert sentences[0].endswith("evaluate.frechet is on, but it gave no number.")

    def test_computed(self, params: Params):
        scores = make_scores(frechet_lite2=70.0, fid=80.0, lpips=0.2)
        (sentence,) = findings.absent_measures({"rgb": scores}, params.evaluate)
        assert sentence.startswith("A Fréchet distance compares the distributions")
        assert "It is too large" in sentence

    def test_one_frechet_distance_is_enough_to_speak_of_how_natural_colours_look(
        self, params: Params
    ):
        scores = make_scores(frechet_lite2=70.0)
        sentences = findings.absent_measures({"rgb": scores}, params.evaluate)
        assert [s.split(" was not computed")[0] for s in sentences[:2]] == ["FID", "LPIPS"]
        assert not any("natural" in sentence for sentence in sentences)

    def test_gray_and_truth_alone_do_not_count_as_computed(self, params: Params):
        scores = replace(make_scores(), gray={"fid": 10.0})
        sentences = findings.absent_measures({"rgb": scores}, params.evaluate)
        assert sentences[1].startswith("FID was not computed")
