"""The house: who may import whom, and that dvc.yaml names the code that decides a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from colorgan.runs.resume import code_files
from imports import PACKAGE, all_modules, closure, direct_imports, module_file

ROOT = PACKAGE.parents[1]

# What stands on a lower line never imports from a higher one.
LEVELS = (
    {"errors", "io", "paths", "processes", "yaml12"},
    {"color", "data.encoded", "config", "config_file", "pictures"},
    {"spaces", "presets", "pretrained", "runs.runtime"},
    {
        "networks",
        "data.arrays",
        "data.conversion",
        "data.decode",
        "data.fetching",
        "data.manifest",
        "data.sources",
        "data.split",
    },
    {"tracking", "model", "data.loader", "evaluation.frechet", "evaluation.metrics"},
    {"data", "evaluation", "inference", "reporting", "runs", "training"},
    {"benchmark", "recovery", "serving", "verification"},
    {"cli", "__main__"},
)

# The modules with a stage in them: they speak through files alone.
STAGES = {
    "download": "colorgan.data.download",
    "preprocess": "colorgan.data.preprocess",
    "train": "colorgan.training.train",
    "evaluate": "colorgan.evaluation.evaluate",
    "render_grids": "colorgan.reporting.render_grids",
}

# Imported by stages, but unable to change a result; each with the reason.
DECIDES_NOTHING = {
    "colorgan.errors": "sentences for the user",
    "colorgan.io": "writes what it is given",
    "colorgan.config": "checks values that DVC tracks itself under `params`",
    "colorgan.paths": "names of files, which are outs and deps of the stages",
    "colorgan.data": "an empty package",
    "colorgan.evaluation": "an empty package",
    "colorgan.reporting": "an empty package",
    "colorgan.runs": "an empty package",
    "colorgan.training": "an empty package",
    "colorgan.tracking": "an empty package",
    "colorgan.tracking.lineage": "tags of a run",
    "colorgan.tracking.mlflow_log": "records a run",
    "colorgan.tracking.run": "records a run; the columns of its CSV come from training",
    "colorgan.processes": "which processes live",
    "colorgan.runs.checkpoint": "gives back what it was given, to the bit",
    "colorgan.training.checks": "refuses, or lets pass",
    "colorgan.runs.lock": "lets one process in",
    "colorgan.training.progress": "what the terminal shows",
    "colorgan.runs.resume": "keeps what it is given",
    "colorgan.runs.stopping": "when training stops, not what it comes to",
    "colorgan.tracking.outbox": "keeps what could not be sent",
    "colorgan.tracking.remote_sink": "records a run",
    "colorgan.tracking.sending": "records a run",
    "colorgan.tracking.store_uri": "where runs are recorded",
    "colorgan.tracking.mlflow_read": "brings the weights that train.init names, by their digest",
}
# The same for one stage alone.
DECIDES_NOTHING_IN = {"train": {"colorgan.pictures": "lays out the sample grids of a run"}}


def level(module: str) -> int:
    """Return the line that a module stands on; the longest name that fits decides."""
    name = module.removeprefix("colorgan.")
    while name:
        for number, names in enumerate(LEVELS):
            if name in names:
                return number
        name = name.rpartition(".")[0]
    raise AssertionError(f"{module} has no place in LEVELS")


@pytest.mark.parametrize("module", [m for m in all_modules() if m != "colorgan"])
def test_imports_run_one_way(module: str) -> None:
    above = {
        other
        for other in direct_imports(module)
        if level(other) > level(module)
        and other.rpartition(".")[0] != module
        and not module.startswith(f"{other}.")
    }
    assert not above, f"{module} imports {above}, which stand above it"


@pytest.mark.parametrize("stage", STAGES.values())
def test_no_stage_imports_another(stage: str) -> None:
    assert not closure(stage) & (set(STAGES.values()) - {stage})


def test_only_the_sink_imports_mlflow() -> None:
    importers = {
        file.name
        for file in PACKAGE.rglob("*.py")
        if any(
            line.lstrip().startswith(("import mlflow", "from mlflow"))
            for line in file.read_text(encoding="utf-8").splitlines()
        )
    }
    assert importers == {"mlflow_log.py", "mlflow_read.py", "promote.py", "mlflow_model.py"}


def test_spaces_are_told_apart_in_one_place() -> None:
    branches = [
        f"{file.relative_to(PACKAGE)}: {line.strip()}"
        for file in PACKAGE.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.lstrip().startswith(("if ", "elif ", "case "))
        and any(f"{quote}{name}{quote}" in line for name in ("rgb", "lab") for quote in "'\"")
    ]
    assert not branches


def _stages_of_dvc_yaml() -> list[tuple[str, str, list[str]]]:
    """Return (name in dvc.yaml, command of STAGES, code deps) of each stage."""
    content = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")
    found = []
    for name, stage in content["stages"].items():
        body = stage.get("do", stage)
        command = body["cmd"].split()[3].replace("-", "_")
        found.append((name, command, [d for d in body["deps"] if str(d).startswith("src/")]))
    return found


@pytest.mark.parametrize(("name", "command", "deps"), _stages_of_dvc_yaml())
def test_code_deps_are_the_imports_that_decide(name: str, command: str, deps: list[str]) -> None:
    declared: set[Path] = set()
    for dep in deps:
        path = ROOT / dep
        assert path.exists(), f"{name} of dvc.yaml names {dep}, which is not there"
        declared |= set(path.rglob("*")) - set(path.rglob("*.pyc")) if path.is_dir() else {path}
    declared = {path for path in declared if path.is_file()}
    listed = {*DECIDES_NOTHING, *DECIDES_NOTHING_IN.get(command, ())}
    allowed = {file for module in listed if (file := module_file(module))}
    imported = {file for module in closure(STAGES[command]) if (file := module_file(module))}
    templates = {file.with_name("report.html.j2") for file in imported if "reporting" in str(file)}
    needed = (imported | templates) - allowed
    assert {p.relative_to(ROOT).as_posix() for p in needed - declared} == set(), "not declared"
    idle = declared - imported - templates
    assert {p.relative_to(ROOT).as_posix() for p in idle} == set(), "not imported"


def test_a_checkpoint_is_good_for_the_code_that_dvc_yaml_names() -> None:
    [deps] = {tuple(deps) for _, command, deps in _stages_of_dvc_yaml() if command == "train"}
    declared = set()
    for dep in deps:
        path = ROOT / dep
        declared |= set(path.glob("*.py")) if path.is_dir() else {path}
    assert set(code_files()) == declared


def test_the_allow_list_has_nothing_that_is_gone() -> None:
    assert set(DECIDES_NOTHING) <= set(all_modules())


def test_files_stay_short() -> None:
    long = {
        file.name: n
        for file in PACKAGE.rglob("*.py")
        if (n := len(file.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert not long
