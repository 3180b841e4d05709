"""benchmarks/frechet.py: how the distance answers to faults whose order is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.config import Params
from colorgan.errors import ColorganError
from colorgan.model import build_generator, save_model
from colorgan.spaces import get_space

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import frechet

    return frechet


@pytest.mark.slow
def test_what_is_nearer_the_truth_is_nearer(
    script: ModuleType,
    write_arrays: Callable[..., Path],
    real_photos: UInt8Array,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos = real_photos[:12]
    folder = write_arrays("lab", test=len(photos), side=64)
    arrays = (np.stack(x) for x in zip(*map(get_space("lab").arrays, photos), strict=True))
    for name, array in zip(("input", "target"), arrays, strict=True):
        np.save(folder / "test" / f"{name}.npy", array)
    script.main(paths.IN_THE_CHECKOUT, folder)
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == list(script.CASES)
    distance, paired, error = ({row[0]: float(row[i]) for row in rows} for i in (1, 2, 3))
    for figure in (distance, paired, error):
        assert figure["true colours in cells of 4 px"] < figure["true colours in cells of 16 px"]
        assert figure["half way from the model to the truth"] < figure["the model"]
        assert figure["half of the true colours"] < figure["gray"]
    # Pictures side by side with their truth are one way to bring the sets together, not the best.
    assert all(distance[name] <= paired[name] * 12 / 11 + 0.1 for name in distance)


def test_a_folder_without_a_model_is_named(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ColorganError, match="does not exist"):
        script.main(tmp_path, tmp_path)


def test_a_model_of_rgb_is_refused(
    script: ModuleType, tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    space, model = get_space("rgb"), make_params().rgb.model
    save_model(tmp_path, build_generator(space, model, 64), space, model, 64)
    with pytest.raises(ColorganError, match="is a model of rgb; it should be one of lab"):
        script.main(tmp_path, tmp_path)
