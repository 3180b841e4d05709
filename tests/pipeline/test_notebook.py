"""notebooks/colorgan.ipynb: it is what Jupyter can open, and its cells run in a clone."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.conftest import ROOT, Project, new_project
from run_notebook import code_cells

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "notebooks" / "colorgan.ipynb"
# The cells are those of the file; these make the networks, the photos and the epochs few.
SMALL = {
    "INSTALL": False,
    "PIPELINE": "quick",
    "EXPERIMENT": ["+lab.train.batch_size=32", "+lab.train.epochs=2"],
    "GPU_PRESETS": ["photos --path data/sample", "encoder", "quick"],
    "GPU_VALUES": ["train.epochs=1"],
}


def test_it_has_the_form_of_a_notebook() -> None:
    """What the schema of nbformat 4.5 asks for, nothing stored of a run, each cell explained."""
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert {"name", "display_name"} <= content["metadata"]["kernelspec"].keys()
    cells = content["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all({"cell_type", "id", "metadata", "source"} <= cell.keys() for cell in cells)
    kinds = [cell["cell_type"] for cell in cells]
    assert kinds == ["markdown", "code"] * (len(kinds) // 2)
    assert {(c["execution_count"], *c["outputs"]) for c in code_cells(NOTEBOOK)} == {(None,)}


def test_its_cells_run_in_a_clone(tmp_path: Path) -> None:
    """From an empty folder to a coloured photo, and from what was kept to the model, elsewhere."""
    (tmp_path / "address").mkdir()
    source = new_project(tmp_path / "address")
    # A hosted machine has nobody's name for git.
    nobody = {k: v for k, v in source.env.items() if not k.startswith("GIT_")}
    env = nobody | {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    (tmp_path / "host").mkdir()
    host = Project(tmp_path / "host", env)
    settings = SMALL | {"REPOSITORY": str(source.folder), "KEEP": str(tmp_path / "drive")}
    runner = str(ROOT / "tests" / "run_notebook.py")

    said = host.run(sys.executable, runner, str(NOTEBOOK), json.dumps(settings))

    ran = re.findall(r"^== (\S+)$", said, re.MULTILINE)
    assert ran == [cell["id"] for cell in code_cells(NOTEBOOK)]
    for run in ("workspace / train_rgb", "first-experiment / train_lab", "on-a-gpu / train_lab"):
        assert run in said.rpartition("== gpu")[2], "in the table of runs"
    assert len(re.findall("displayed: .*Image", said)) == 3
    with Image.open(host.folder / "colorgan" / "coloured.png") as coloured:
        assert coloured.mode == "RGB"
    kept = tmp_path / "drive"
    elsewhere = Project(tmp_path / "elsewhere", env)
    elsewhere.folder.mkdir()
    elsewhere.shell(
        f"git clone --quiet {kept / 'colorgan.bundle'} .",
        f"dvc remote add -d keep {kept / 'dvc'}",
        "dvc pull",
    )
    model = Path("models", "lab", "generator.safetensors")
    there = (host.folder / "colorgan" / model).read_bytes()
    assert (elsewhere.folder / model).read_bytes() == there
    assert (kept / "mlflow.db").is_file()
