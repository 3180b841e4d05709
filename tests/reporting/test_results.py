"""metrics.json as the table that `colorgan summary` prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from colorgan import paths
from colorgan.errors import ColorganError
from colorgan.io import write_json
from colorgan.reporting.results import metrics_table


def printed() -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(metrics_table())
    return capture.get()


def test_the_table_has_a_row_for_each_space_and_picture_and_fits(project: Path) -> None:
    generated = {
        "psnr": 21.234,
        "ssim": 0.9123,
        "ciede2000": 12.345,
        "colorfulness": 26.7,
        "colorfulness_gap": 12.1,
        "hue_share": 0.4512,
        "shift_a": -1.26,
        "shift_b": 12.34,
        "frechet_lite2": 153.2,
        "gain": 1.634,
        "ciede2000_ecf": 13.456,
        "frechet_lite2_ecf": 151.9,
    }
    truth = {"colorfulness": 38.8, "colorfulness_abs": 35.0}
    gray = generated | {"hue_share": None}
    summary = {"photos": 8000, "generated": generated, "gray": gray, "truth": truth}
    write_json(paths.METRICS, {"rgb": summary, "lab": summary})
    text = printed()
    rows = [line.split() for line in text.splitlines() if line.startswith(("rgb g", "lab g"))]
    kinds = [["rgb", "generated"], ["rgb", "gray"], ["lab", "generated"], ["lab", "gray"]]
    assert [row[:2] for row in rows] == kinds
    shown = "21.23 0.912 12.35 153.2 1.63 13.46 151.9 26.7 12.1 45.1 −1.3 12.3"
    assert rows[0][2:] == shown.split()
    assert "–" in rows[1]
    assert "rgb: 8000 photos, colourfulness of the truth 38.8" in text
    assert "…" not in text


def test_metrics_that_cannot_be_used_say_what_to_run(project: Path) -> None:
    paths.METRICS.unlink()
    with pytest.raises(ColorganError, match=r"metrics.json does not exist: run `dvc repro eval"):
        printed()
    for text in ("{", "[1]", '{"rgb": {"photos": 1}}'):
        paths.METRICS.write_text(text)
        with pytest.raises(ColorganError, match=r"metrics.json cannot be used.*: run `dvc repro"):
            printed()
