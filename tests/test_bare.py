"""A machine without MLflow, DVC and ruamel.yaml, on which training has to work all the same."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from packaging.requirements import Requirement

from colorgan import paths
from colorgan.model import Model
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
KNOW_MLFLOW = {"colorgan.tracking.mlflow_log", "colorgan.tracking.mlflow_read"}


class Bare(NamedTuple):
    """Such a machine: its Python, and the folder of all that is installed there."""

    python: Path
    packages: Path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """An environment with INSTALLED and what they require, and nothing else."""
    # An environment rather than a search path: the benchmark starts its Python again and again.
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=os.name != "nt")
    base = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", base))
    (packages / "colorgan").symlink_to(PACKAGE)
    for name in required(INSTALLED):
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if top != "__pycache__" and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(found.locate_file(top))))
    present = {path.name for path in packages.iterdir()}
    assert {"torch", "yaml", "numpy", "skimage", "typer"} <= present
    assert not present & {"mlflow", "dvc", "ruamel", "pyarrow", "torchmetrics", "matplotlib"}
    return Bare(Path(sysconfig.get_path("scripts", "venv", base)) / "python", packages)


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


def on_the_bare_machine(bare: Bare, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages of the bare machine alone."""
    return subprocess.run(
        [bare.python, *arguments],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        text=True,
        capture_output=True,
        check=False,
        timeout=600,
    )


def test_training_records_to_files_alone_and_says_so_once(
    bare: Bare,
    write_arrays: Callable[..., Path],
    write_params: Callable[[Mapping[str, Any]], None],
) -> None:
    write_arrays("lab")
    write_params({"train.lr": 2e-05, "logging.log_every": 1})
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
    Model.load(paths.model("lab"))
    assert not list(Path().rglob("mlflow.db"))


@pytest.mark.slow
def test_the_benchmark_measures_and_writes_its_page(bare: Bare, project: Path) -> None:
    size = ("--image-size", "32", "--batch-size", "2", "--ngf", "2")
    quick = ("--quick", "--device", "cpu", "--seconds", "0.05", *size)
    done = on_the_bare_machine(bare, "-m", "colorgan", "benchmark", *quick)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (figures,) = (paths.REPORTS / "benchmarks").glob("performance-*.json")
    rows = {row["name"]: row for row in json.loads(figures.read_text())["variants"]}
    # Whatever else a CPU does, this it can.
    for name in ("base", "num_workers_2", "amp_bf16", "fused_adam", "all"):
        assert rows[name].get("images_per_second", 0) > 0, rows[name]
    page = Path("docs/performance.md").read_text(encoding="utf-8")
    assert "| base |" in page


@pytest.mark.parametrize("start", ["training.train", "benchmark.command", "benchmark.child"])
def test_what_is_imported_at_the_start_is_there(bare: Bare, start: str) -> None:
    installed = {path.name.partition(".")[0] for path in bare.packages.iterdir()}
    there = installed | sys.stdlib_module_names
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
