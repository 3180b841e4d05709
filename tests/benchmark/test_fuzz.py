"""benchmarks/fuzz.py at a tiny size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_damaged_pictures_are_coloured_or_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    import fuzz

    fuzz.main(count=60, per_run=60)
    numbers = re.findall(r"(\d+)$", capsys.readouterr().out, re.MULTILINE)
    coloured, warned, refused, bad = map(int, numbers)
    assert coloured + warned + refused == 60
    assert min(coloured, refused) > 5
    assert bad == 0
