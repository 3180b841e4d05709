"""The stage from end to end: files in, pictures and a self-contained report out."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from colorgan import io, paths
from colorgan.config import Params
from colorgan.errors import ColorganError
from colorgan.reporting import render_grids as stage

OF_A_SPACE = ("best_worst", "grid", "hues", "losses")


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(stage, "record_results", lambda **call: calls.append(call))
    return calls


def _digests() -> dict[str, str]:
    made = [*paths.GRIDS.iterdir(), paths.REPORT]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}


def test_two_runs_write_and_record_the_same_bytes(
    project: Path, params: Params, recorded: list[dict[str, Any]]
):
    stage.render_grids(params, ["rgb", "lab"])
    pngs = {f"{space}_{name}.png" for space in ("rgb", "lab") for name in OF_A_SPACE}
    assert {path.name for path in paths.GRIDS.iterdir()} == pngs | {"both_grid.png"}
    assert [call["stage"] for call in recorded] == ["render_rgb", "render_lab"]
    for call in recorded:
        weights = paths.model(call["space"]) / "generator.safetensors"
        own = {paths.GRIDS / f"{call['space']}_{name}.png" for name in OF_A_SPACE}
        assert set(call["artifacts"]) == own | {paths.REPORT}
        assert call["generator_sha256"] == io.sha256(weights)
        assert call["metrics"] == {}
    first = _digests()
    (paths.GRIDS / "left_over.png").write_bytes(b"of an older run")
    stage.render_grids(params, ["rgb", "lab"])
    assert _digests() == first


def test_the_report_says_what_the_numbers_say_and_needs_nothing_else(project: Path, params: Params):
    stage.render_grids(params, ["rgb", "lab"])
    html = paths.REPORT.read_text()
    for expected in (
        '<span class="worse">21.00</span>',
        "Random\nhues would be right on 16.7% of these pixels",
        "There is a blue bias",
        "Caution: with fewer than 100 test photos",
        "<code>evaluate.frechet</code>",
    ):
        assert expected in html, expected
    assert html.index(">cat</th>") < html.index(">dog</th>") < html.index(">sail boat</th>")
    assert "runtime." not in html
    assert html.count('src="data:image/png;base64,') == len(list(paths.GRIDS.iterdir()))
    assert not re.search(r"<script|<link|@import|url\(|https?:|src=\"(?!data:)", html)
    for anchor in re.findall(r'href="([^"]*)"', html):
        assert anchor[0] == "#"
        assert f'id="{anchor[1:]}"' in html


def test_one_space_alone_with_validation(project: Path, params: Params):
    metrics = json.loads(paths.METRICS.read_text())
    paths.validation("lab").write_text("epoch,l1,psnr,new\n1,0.5,20,1\n2,0.4,21,2\n")
    paths.METRICS.write_text(json.dumps({"lab": metrics["lab"]}))
    stage.render_grids(params, ["lab"])
    assert {p.name for p in paths.GRIDS.iterdir()} == {
        f"lab_{name}.png" for name in (*OF_A_SPACE, "validation")
    }
    html = paths.REPORT.read_text()
    assert "Only LAB was evaluated" in html
    assert "RGB generated" not in html


def test_nulls_are_dashes_and_labels_cannot_inject_markup(project: Path, params: Params):
    metrics = json.loads(paths.METRICS.read_text())
    metrics["rgb"]["generated"] = dict.fromkeys(metrics["rgb"]["generated"])
    paths.METRICS.write_text(json.dumps(metrics))
    text = paths.PER_CLASS.read_text().replace("cat", "<script>alert(1)</script>")
    paths.PER_CLASS.write_text(text)
    stage.render_grids(params, ["rgb"])
    html = paths.REPORT.read_text()
    assert "<script>" not in html
    assert '<span class="plain">–</span>' in html
    words = re.sub(r"data:image[^\"]*", "", html)
    assert not re.search(r"\b(None|nan|null)\b", words)


def test_a_missing_input_is_named_with_the_command_to_run(project: Path, params: Params):
    for missing, command in (
        (paths.METRICS, "python -m colorgan evaluate"),
        (paths.PER_PHOTO, "dvc repro evaluate"),
        (paths.losses("lab"), "dvc repro train_lab"),
        (paths.model("rgb") / "generator.safetensors", "dvc repro train_rgb"),
        (paths.processed("lab") / "dataset.json", "dvc repro preprocess@lab"),
    ):
        kept = missing.rename("kept")
        with pytest.raises(ColorganError) as caught:
            stage.render_grids(params, ["rgb", "lab"])
        assert str(missing) in str(caught.value)
        assert command in str(caught.value)
        assert not paths.REPORT.exists()
        assert not paths.GRIDS.exists()
        kept.rename(missing)


def test_results_that_do_not_fit_are_named_and_the_older_report_stays(
    project: Path, params: Params
):
    stage.render_grids(params, ["rgb"])
    first = _digests()
    measured = paths.PER_PHOTO.read_text()
    paths.PER_PHOTO.write_text(measured.replace("test1,", "other,"))
    with pytest.raises(ColorganError, match=r"per_photo\.csv measures other photos.*dvc repro eva"):
        stage.render_grids(params, ["rgb"])
    paths.PER_PHOTO.write_text(measured)
    paths.HUES.write_text("space,hue,truth\nrgb,5,0.1\n")
    with pytest.raises(ColorganError, match=r"hues\.csv has nothing about .*generated"):
        stage.render_grids(params, ["rgb"])
    paths.METRICS.write_text("{}")
    with pytest.raises(ColorganError, match=r"metrics\.json has nothing about rgb: run `dvc repro"):
        stage.render_grids(params, ["rgb"])
    assert _digests() == first
