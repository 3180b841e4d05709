"""The commands of docs/experiments.md and docs/colorize.md that go on from a trained project."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.conftest import Project

pytestmark = pytest.mark.slow

COLORGAN = ("python", "-m", "colorgan")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans" / "1924"
    folder.mkdir(parents=True)
    ramp = np.linspace(0, 255, 50 * 70).reshape(50, 70).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "a boat.tif", dpi=(300, 300))
    return tmp_path / "scans"


def test_models_of_the_project_and_of_its_runs_colour(
    project: Project, scans: Path, tmp_path: Path
) -> None:
    made = {}
    for model in ("rgb", "lab", "workspace"):
        out = tmp_path / model
        project.run(*COLORGAN, "colorize", str(scans), "-o", str(out), "--model", model)
        with Image.open(out / "1924" / "a boat.tif") as image:
            assert (image.size, image.mode) == ((70, 50), "RGB")
            made[model] = np.asarray(image)
    # The run of this name is looked for among those of rgb first.
    assert (made["workspace"] == made["rgb"]).all()
    assert (made["lab"] != made["rgb"]).any()


def test_the_best_run_is_promoted_and_colours(
    project: Project, scans: Path, tmp_path: Path
) -> None:
    said = project.run(*COLORGAN, "promote", "lab")
    assert "colorgan-lab version 1 is now the champion: score" in said
    assert "is already the champion" in project.run(*COLORGAN, "promote", "lab")
    champion = ("--model", "models:/colorgan-lab@champion")
    project.run(*COLORGAN, "colorize", str(scans), "-o", str(tmp_path / "out"), *champion)
    assert (tmp_path / "out" / "1924" / "a boat.tif").is_file()


def test_data_and_models_are_shared_through_a_remote(
    project: Project, scans: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    project.run("dvc", "remote", "add", "-d", "storage", str(storage))
    project.run("dvc", "push")
    project.run("git", "add", ".dvc/config", "dvc.lock", "params.yaml", "reports")
    project.run("git", "commit", "--quiet", "-m", "Train")
    try:
        project.run("git", "clone", "--quiet", str(project.folder), str(tmp_path / "elsewhere"))
        elsewhere = Project(tmp_path / "elsewhere", project.env)
        elsewhere.run("dvc", "pull")
        for name in ("models/lab/generator.safetensors", "data/processed/lab/train/input.npy"):
            there, here = (p.folder / name for p in (elsewhere, project))
            assert there.read_bytes() == here.read_bytes()
        assert elsewhere.stages_run(elsewhere.run("dvc", "repro")) == []
        out = tmp_path / "out"
        elsewhere.run(*COLORGAN, "colorize", str(scans), "-o", str(out), "--model", "lab")
        assert (out / "1924" / "a boat.tif").is_file()
    finally:
        project.run("git", "reset", "--quiet", "--hard", "HEAD~1")


def test_a_sweep_is_queued_by_lists_and_experiments_are_compared(project: Project) -> None:
    lists = ("-S", "train.lr=0.0001,0.0002", "-S", "train.batch_size=8,16")
    project.run("dvc", "exp", "run", "--queue", *lists)
    assert project.run("dvc", "queue", "status").count("Queued") == 4
    project.run("dvc", "queue", "remove", "--all")
    project.run("dvc", "exp", "run", "-n", "batch-8", "-S", "train.batch_size=8")
    shown = json.loads(project.run("dvc", "exp", "diff", "--json", "HEAD", "batch-8"))
    assert shown["params"]["params.yaml"]["train.batch_size"]["new"] == 8
    assert shown["metrics"]["reports/metrics.json"]
    assert "batch-8" in project.run("dvc", "exp", "show", "--only-changed", "--csv")
