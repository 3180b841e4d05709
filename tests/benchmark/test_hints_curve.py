"""benchmarks/hints_curve.py on a small photo, with a network of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from colorgan.color import UInt8Array
from colorgan.config import check_params
from tiny_project import photo_arrays, tiny_params
from trained import save_tiny

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HINTED = {"model.generator": "encoder_unet", "model.hints": True}


@pytest.mark.slow
def test_true_colours_bring_the_baselines_nearer(
    tmp_path: Path, real_photos: UInt8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import hints_curve as script

    model = save_tiny(tmp_path / "model", "lab", check_params(tiny_params(HINTED)), seed=0)
    photo_arrays(tmp_path / "lab", "lab", real_photos[:1], [""])
    out, image = tmp_path / "hints.json", tmp_path / "hints.png"
    script.main(str(model), 1, tmp_path / "lab", [], out, image)
    figures = json.loads(out.read_text())["sets"]["bundled"]
    for kind in script.PLACES:
        for way in script.WAYS:
            errors = figures[kind][way]["ciede2000"]
            assert np.isfinite(errors).all()
            assert len(errors) == len(script.COUNTS)
            # The features of a random network, which guide the product, say nothing.
            if way != "product":
                assert errors[-1] < 0.8 * errors[0], (kind, way)
                assert figures[kind][way]["kept"]["median"] < 3
    assert image.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_optimization_keeps_hints_and_fills_the_rest_along_edges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import hints_curve as script

    light = np.full((16, 16), 20, np.float32)
    light[:, 8:] = 80
    asked, mask = np.zeros((16, 16, 2), np.float32), np.zeros((16, 16), bool)
    mask[4, 3], asked[4, 3] = True, (40, -20)
    mask[9, 12], asked[9, 12] = True, (-30, 10)
    filled = script.levin(script.levin_weights(light), asked, mask)
    assert np.abs(filled[:, :8] - (40, -20)).max() < 2
    assert np.abs(filled[:, 8:] - (-30, 10)).max() < 2
