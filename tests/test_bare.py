"""A machine without MLflow, DVC and ruamel.yaml, on which training has to work all the same."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from packaging.requirements import Requirement

from colorgan import Colorizer, paths
from imports import PACKAGE, closure, module_file

# All that such a machine has, besides what these bring with them.
INSTALLED = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scikit-image",
    "typer",
    "pydantic",
    "rich",
    "safetensors",
    "PyYAML",
)

# What these import is looked for where it is needed, and done without.
KNOW_MLFLOW = {"colorgan.tracking.mlflow_sink", "colorgan.tracking.mlflow_runs"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with INSTALLED and what they require, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "colorgan").symlink_to(PACKAGE)
    for name in required(INSTALLED):
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if top != "__pycache__" and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    present = {path.name for path in folder.iterdir()}
    assert {"torch", "yaml", "numpy", "skimage", "typer"} <= present
    assert not present & {"mlflow", "dvc", "ruamel", "pyarrow", "torchmetrics", "matplotlib"}
    return folder


def required(names: tuple[str, ...]) -> set[str]:
    """Return the names of the installed distributions that these need, themselves included."""
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform or flavour of torch
        seen.add(name)
        wanted = [Requirement(line) for line in lines]
        todo += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]
    return seen


def on_the_bare_machine(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages of the bare machine alone."""
    # Without `site`, nothing of the environment that runs the tests is seen.
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env=os.environ | {"PYTHONPATH": str(bare)},
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )


def test_training_records_to_files_alone_and_says_so_once(
    bare: Path,
    write_arrays: Callable[..., Path],
    write_params: Callable[[Mapping[str, Any]], None],
) -> None:
    write_arrays("lab")
    write_params({"train.lr": 2e-05, "train.log_every": 1})
    done = on_the_bare_machine(bare, "-m", "colorgan", "train", "lab")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if "mlflow" in line.lower()]
    assert len(said) == 1
    assert said[0].startswith("mlflow is not installed")
    assert "CSV and JSON alone" in said[0]

    losses = pd.read_csv(paths.losses("lab"))
    assert list(losses["iteration"]) == list(range(1, len(losses) + 1))
    assert losses.notna().all(axis=None)
    assert len(pd.read_csv(paths.validation("lab"))) > 0
    config = json.loads((paths.model("lab") / "config.json").read_text())
    assert config["space"] == "lab"
    Colorizer.load(paths.model("lab"))
    assert not list(Path().rglob("mlflow.db"))


@pytest.mark.parametrize("start", ["training.train", "benchmark.command", "benchmark.child"])
def test_what_is_imported_at_the_start_is_there(bare: Path, start: str) -> None:
    there = {path.name.partition(".")[0] for path in bare.iterdir()} | sys.stdlib_module_names
    missing = {
        f"{module} imports {package}"
        for module in closure(f"colorgan.{start}")
        if (file := module_file(module)) and module not in KNOW_MLFLOW
        for package in imported_on_import(file) - there
    }
    assert not missing


@pytest.mark.parametrize("start", ["data.preprocess", "evaluation.evaluate", "params_file"])
def test_ruamel_is_not_needed(start: str) -> None:
    importers = {
        module
        for module in closure(f"colorgan.{start}")
        if (file := module_file(module)) and "ruamel" in imported_on_import(file)
    }
    assert not importers


def imported_on_import(file: Path) -> set[str]:
    """Return the packages that importing a module imports: not those that functions import."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found
