"""The wheel on a machine with nothing but what it requires, and a training without MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from colorgan import paths
from colorgan.model import Model

ROOT = Path(__file__).parents[1]
COLOURS = """
from PIL import Image
import colorgan
with Image.open("photo.png") as image:
    colorgan.Colorizer.load().colorize(image).save("by python.png")
print(colorgan.__file__)
"""
# A machine that only trains has neither these nor any extra of the package.
TRAINS = """
import sys
sys.modules |= dict.fromkeys(["kagglehub", "matplotlib", "onnxruntime", "pyarrow"])
from colorgan.cli import main
sys.argv = ["colorgan", "train", "lab"]
main()
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine with the wheel and what it requires, but no extra of it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    [own] = metadata.distributions(name="colorgan", path=[str(folder / "site")])
    there = required(own) | {"colorgan"}
    absent = {
        package
        for package, owners in metadata.packages_distributions().items()
        if there.isdisjoint(map(canonicalize_name, owners))
    }
    assert {"mlflow", "dvc", "starlette", "onnx", "psutil", "selenium"} <= absent
    # A None in sys.modules is found as no package at all.
    hide = f"import sys\nsys.modules |= dict.fromkeys({sorted(absent)})\n"
    (folder / "site" / "sitecustomize.py").write_text(hide, encoding="utf-8")
    return os.environ | {"PYTHONPATH": str(folder / "site")}


def required(own: metadata.Distribution) -> set[str]:
    """Return what a distribution requires, and what that requires, without extras unless named."""
    found: set[tuple[str, str]] = set()
    todo = [(own, "")]
    while todo:
        distribution, extra = todo.pop()
        for wanted in map(Requirement, distribution.requires or ()):
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                name = canonicalize_name(wanted.name)
                new = {(name, more) for more in ("", *wanted.extras)} - found
                todo += [(metadata.distribution(name), more) for _, more in new]
                found |= new
    return {str(name) for name, _ in found}


def run(bare: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the bare machine, in the working directory."""
    done = subprocess.run(
        [sys.executable, *arguments], env=bare, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_it_colours_a_photo_by_python_and_by_the_command(bare, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Image.open(next((ROOT / "data" / "sample").glob("landscape/*.webp"))) as image:
        size = image.size
        image.convert("L").save("photo.png")
    assert bare["PYTHONPATH"] in run(bare, "-c", COLOURS).stdout
    command = ("-m", "colorgan", "colorize", "photo.png", "-o", "by command.png")
    assert run(bare, *command).stdout == "colorize: 1 coloured, in by command.png\n"
    results = []
    for name in ("by python.png", "by command.png"):
        with Image.open(name) as coloured:
            assert (coloured.size, coloured.mode) == (size, "RGB")
            results.append(np.asarray(coloured).astype(int))
    assert np.ptp(results[0], axis=-1).mean() > 4
    assert (results[0] == results[1]).all()


def test_it_has_all_files_of_the_package(bare: dict[str, str]) -> None:
    """The pages and presets too, not Python's caches."""
    source, site = ROOT / "src", Path(bare["PYTHONPATH"])
    files = [file for file in source.glob("colorgan/**/*.*") if file.suffix != ".pyc"]
    assert [f for f in files if not (site / f.relative_to(source)).exists()] == []


def test_training_without_mlflow_records_to_files_and_says_so_once(
    bare: dict[str, str],
    write_arrays: Callable[..., Path],
    write_params: Callable[[Mapping[str, Any]], None],
) -> None:
    write_arrays("lab")
    write_params({"train.lr": 2e-05})
    done = run(bare, "-c", TRAINS)
    [said] = [line for line in done.stderr.splitlines() if "mlflow" in line.lower()]
    assert said.startswith("mlflow is not installed")
    losses = pd.read_csv(paths.losses("lab"))
    assert len(losses) > 1
    assert losses.notna().all(axis=None)
    assert len(pd.read_csv(paths.validation("lab"))) > 0
    assert json.loads((paths.model("lab") / "config.json").read_text())["space"] == "lab"
    Model.load(paths.model("lab"))
    assert not list(Path().rglob("mlflow.db"))
