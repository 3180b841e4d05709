"""Confidence intervals of means over photos."""

from __future__ import annotations

import math

import numpy as np
import pytest

from colorgan.evaluation.summary import confidence_interval


def test_the_interval_covers_the_mean_and_shrinks_with_more_photos() -> None:
    for count in (20, 2000):
        values = np.random.default_rng(1).normal(5, 2, count)
        low, high = confidence_interval(values)
        assert (low, high) == confidence_interval(values)
        assert low < values.mean() < high
        # The normal approximation: 2 * 1.96 * sd / sqrt(n).
        assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(count), rel=0.15)
    assert np.isnan(confidence_interval([1.0, 2.0])).all()
