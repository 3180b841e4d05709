"""The table of metrics.json: what a person reads after `evaluate`."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from colorgan.errors import ColorganError
from colorgan.evaluation.table import metrics_table
from colorgan.io import write_json


def summary(**learned: float) -> dict[str, object]:
    generated = {
        "psnr": 21.234,
        "ssim": 0.9123,
        "ciede2000": 12.345,
        "colorfulness": 26.7,
        "colorfulness_gap": 12.1,
        "hue_share": 0.4512,
        "shift_a": -1.26,
        "shift_b": 12.34,
        **learned,
    }
    gray = {**generated, "colorfulness": 0.0, "colorfulness_gap": 38.8, "hue_share": None}
    truth = {"colorfulness": 38.8, "colorfulness_abs": 35.0}
    return {"photos": 8000, "generated": generated, "gray": gray, "truth": truth}


def lines(path: Path, width: int = 100, **options: float) -> list[str]:
    console = Console(width=width, record=True, force_terminal=False, quiet=False)
    with console.capture() as capture:
        console.print(metrics_table(path, **options))
    return capture.get().splitlines()


def test_a_row_a_space_and_picture(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"rgb": summary(), "lab": summary()})
    printed = lines(tmp_path / "metrics.json", hue_tolerance=30)
    rows = [line.split() for line in printed if line.strip().startswith(("rgb g", "lab g"))]
    values = ["21.23", "0.912", "12.35"]
    shifts = ["-1.3", "+12.3"]
    assert rows == [
        ["rgb", "generated", *values, "26.7", "12.1", "45.1%", *shifts],
        ["rgb", "gray", *values, "0.0", "38.8", "–", *shifts],
        ["lab", "generated", *values, "26.7", "12.1", "45.1%", *shifts],
        ["lab", "gray", *values, "0.0", "38.8", "–", *shifts],
    ]
    text = "\n".join(printed)
    assert "hue to" in text
    assert "30° ↑" in text
    assert "rgb: 8000 photos, colourfulness of the truth 38.8" in text
    assert "FID" not in text
    assert "Lite2" not in text


def test_the_table_fits_in_80_columns_and_with_all_measures_in_100(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"rgb": summary()})
    assert "…" not in "".join(lines(path, width=80, hue_tolerance=22.5))
    write_json(path, {"rgb": summary(frechet_lite2=153.2)})
    printed = "\n".join(lines(path, width=80, hue_tolerance=22.5))
    assert "…" not in printed
    assert "153.2" in printed
    assert "On few photos it is too large" in printed
    write_json(path, {"rgb": summary(frechet_lite2=153.2, fid=123.4, lpips=0.234)})
    printed = "\n".join(lines(path, width=100, hue_tolerance=22.5))
    assert "…" not in printed
    assert "123.4" in printed
    assert "0.234" in printed


def test_one_space_alone_has_two_rows(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"lab": summary()})
    assert metrics_table(tmp_path / "metrics.json").row_count == 2


def test_missing_metrics_say_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ColorganError, match=r"metrics.json does not exist: run `dvc repro eval"):
        metrics_table(tmp_path / "metrics.json")


@pytest.mark.parametrize("text", ["{", '{"rgb": 1}', "[1]", '{"rgb": {"photos": 1}}'])
def test_other_content_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(ColorganError, match=r"metrics.json .* again$"):
        metrics_table(path)
