"""The layout: who may import whom, and that dvc.yaml names the code that decides a result."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from colorgan.runs.run_dir import code_files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "colorgan"

# A module imports from its own line and from those below it. A name stands for a module or for a
# package; where several fit, the longest decides.
LAYERS = (
    "cli cli_cluster cli_options __main__",
    "cluster serving verify",
    "data evaluation inference reporting training",
    "data.loader evaluation.equal_colorfulness evaluation.frechet evaluation.metrics model "
    "pictures presets runs tracking",
    "data.arrays data.decode data.mend data.photo_files data.sources data.tiff networks spaces",
    "color config errors io paths",
)

# The module of each stage. Stages speak through files alone.
STAGES = {
    "download": "data.download",
    "preprocess": "data.preprocess",
    "train": "training.train",
    "evaluate": "evaluation.evaluate",
    "render-grids": "reporting.render_grids",
}

# Imported by stages, but a change of it cannot change a result.
DECIDES_NOTHING = {
    "config": "checks values that DVC tracks itself, under `params`",
    "errors": "sentences for the user",
    "io": "writes what it is given",
    "paths": "names of files that are outs and deps of the stages",
    "runs.checkpoint": "gives back what it was given, to the bit",
    "runs.progress": "prints lines",
    "runs.run_dir": "keeps what it is given",
    "runs.stopping": "says when training stops, not what it computes",
    "tracking": "records a run",
}
DECIDES_NOTHING_IN = {
    # It copies files undecoded.
    "download": ("color", "data.arrays", "data.decode", "data.mend", "data.tiff"),
    "train": ("pictures",),  # the sample grids of a run
}


@cache
def modules() -> dict[str, Path]:
    """Return the file of each module that is not empty, by its name without `colorgan.`."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        # colorgan/__init__.py has only the lazy Colorizer, that of most packages a docstring.
        if name and len(tree(file).body) > 1:
            found[name] = file
    return found


@cache
def tree(file: Path) -> ast.Module:
    """Return the parsed source."""
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Return what a module imports of colorgan: in functions and for types too."""
    named: set[str] = set()
    for node in ast.walk(tree(modules()[module])):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            named |= {f"{node.module}.{alias.name}" for alias in node.names}
            named.add(str(node.module))
    found = {name.removeprefix("colorgan.") for name in named if name.startswith("colorgan.")}
    for name in list(found):
        # Importing a.b runs a/__init__.py, which has long run for what lies in a.
        package = name.rpartition(".")[0]
        if package and not f"{module}.".startswith(f"{package}."):
            found.add(package)
    return frozenset(found & modules().keys() - {module})


def closure(module: str) -> set[str]:
    """Return the module and all that it imports, however indirectly."""
    seen: set[str] = set()
    todo = {module}
    while todo:
        seen |= todo
        todo = {other for one in todo for other in imports(one)} - seen
    return seen


def covers(name: str, module: str) -> bool:
    """Return whether a name of the tables above stands for this module."""
    return f"{module}.".startswith(f"{name}.")


def layer(module: str) -> int:
    """Return the number of the line in LAYERS, 0 at the top."""
    fitting = [
        (len(name), number)
        for number, line in enumerate(LAYERS)
        for name in line.split()
        if covers(name, module)
    ]
    assert fitting, f"{module} has no place in LAYERS"
    return max(fitting)[1]


def test_imports_run_one_way() -> None:
    upwards = [
        f"{module} imports {other}"
        for module in modules()
        for other in imports(module)
        if layer(other) < layer(module) and not covers(module, other) and not covers(other, module)
    ]
    assert not upwards


def test_no_imports_run_in_a_circle() -> None:
    try:
        TopologicalSorter({module: imports(module) for module in modules()}).prepare()
    except CycleError as error:
        pytest.fail(f"imported in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("stage", STAGES.values())
def test_no_stage_imports_another(stage: str) -> None:
    assert not closure(stage) & (set(STAGES.values()) - {stage})


def test_few_modules_know_mlflow() -> None:
    knowing = {
        module
        for module, file in modules().items()
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith(("import mlflow", "from mlflow"))
    }
    allowed = {"mlflow_log", "mlflow_read"}
    assert {name for name in knowing if not name.startswith("serving.")} == {
        f"tracking.{name}" for name in allowed
    }


def test_spaces_are_told_apart_in_one_place() -> None:
    branches = [
        f"{module}: {line.strip()}"
        for module, file in modules().items()
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith(("if ", "elif ", "case "))
        and any(f"{quote}{name}{quote}" in line for name in ("rgb", "lab") for quote in "'\"")
    ]
    assert not branches


def test_files_stay_short() -> None:
    lengths = {
        module: len(file.read_text(encoding="utf-8").splitlines())
        for module, file in modules().items()
    }
    assert {module: lines for module, lines in lengths.items() if lines > 440} == {}


def code_deps() -> dict[str, tuple[str, list[str]]]:
    """Return for each stage of dvc.yaml its command and the code in its deps."""
    stages = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
    found = {}
    for name, stage in stages.items():
        body = stage.get("do", stage)
        deps = [dep for dep in body["deps"] if dep.startswith("src/")]
        found[name] = (body["cmd"].split()[3], deps)
    return found


def files_of(deps: list[str]) -> set[Path]:
    """Return the files that these deps name or hold."""
    files = set()
    for dep in deps:
        path = ROOT / dep
        assert path.exists(), f"dvc.yaml names {dep}, which is not there"
        files |= {path} if path.is_file() else {*path.rglob("*.py"), *path.rglob("*.j2")}
    return files


@pytest.mark.parametrize("stage", code_deps())
def test_code_deps_are_the_imports_that_decide(stage: str) -> None:
    command, deps = code_deps()[stage]
    idle = (*DECIDES_NOTHING, *DECIDES_NOTHING_IN.get(command, ()))
    imported, needed = set(), set()
    for module in closure(STAGES[command]):
        file = modules()[module]
        files = {file, *file.parent.glob("*.j2")} if "reporting" in module else {file}
        imported |= files
        if not any(covers(name, module) for name in idle):
            needed |= files
    declared = files_of(deps)
    assert {file.relative_to(ROOT).as_posix() for file in needed - declared} == set(), "undeclared"
    unused = {file for file in declared - imported if file.name != "__init__.py"}
    assert {file.relative_to(ROOT).as_posix() for file in unused} == set()


def test_both_trainings_have_the_same_code() -> None:
    deps = code_deps()
    assert deps["train_rgb"] == deps["train_lab"]


def test_a_checkpoint_is_of_the_code_that_dvc_yaml_names() -> None:
    assert set(code_files()) == files_of(code_deps()["train_lab"][1])
