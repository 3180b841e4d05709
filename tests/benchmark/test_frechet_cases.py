"""benchmarks/frechet.py: how the distance answers to faults whose order is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from colorgan import paths
from colorgan.color import UInt8Array
from tiny_project import photo_arrays

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_what_is_nearer_the_truth_is_nearer(
    tmp_path: Path,
    real_photos: UInt8Array,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import frechet as script

    photos = real_photos[:12]
    photo_arrays(tmp_path / "lab", "lab", photos, [""] * len(photos))
    script.main(paths.IN_THE_CHECKOUT, tmp_path / "lab")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == list(script.CASES)
    distance, paired, error = ({row[0]: float(row[i]) for row in rows} for i in (1, 2, 3))
    for figure in (distance, paired, error):
        assert figure["true colours in cells of 4 px"] < figure["true colours in cells of 16 px"]
        assert figure["half way from the model to the truth"] < figure["the model"]
        assert figure["half of the true colours"] < figure["gray"]
    # Pictures side by side with their truth are one way to bring the sets together, not the best.
    assert all(distance[name] <= paired[name] * 12 / 11 + 0.1 for name in distance)
