"""What README.md and docs/ tell people to type: each command is run by a test, and parses."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import re
import shlex
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from dvc.cli.parser import get_main_parser
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from colorgan import cli, presets
from colorgan.config import load_params, read_yaml
from documented import (
    ELSEWHERE,
    FENCE,
    LANGUAGES,
    NOT_RUN,
    PAGES,
    ROOT,
    RUN,
    Command,
    commands,
    inline_commands,
)

STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
COLORGAN = typer.main.get_command(cli.app)
# Programs that are not this project's, nor of a library of its: what they take is theirs to say.
OTHERS = {"cd", "cp", "curl", "find", "git", "kill", "ps", "source"}
PLACEHOLDER = "..."


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the project's parameters, and photos wherever the pages say they are."""
    place = tmp_path / "colorgan"
    for name in ("colorgan", "colorgan/BOTH", "colorgan/MORE", "colorgan/PHOTOS", "pictures"):
        (tmp_path / name).mkdir()
    (tmp_path / "shared" / "photos").mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", place)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(place)


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = FENCE.findall(text)
        assert text.count("```") == 2 * len(found), page
        assert {language for language, _ in found} <= LANGUAGES, page


def test_every_command_is_run_by_a_test_or_has_a_reason_not_to_be() -> None:
    run = {text for texts in (*RUN.values(), *ELSEWHERE.values()) for text in texts}
    not_run = tuple(start for starts in NOT_RUN.values() for start in starts)
    said = {command.text for command in commands()}
    assert len(said) > 70
    lost = {text for text in said if text not in run and not text.startswith(not_run)}
    assert not lost, "of no test: add them to tests/documented.py"
    assert run <= said, "gone from the pages"
    assert all(any(text.startswith(start) for text in said) for start in not_run)


def test_the_tests_that_run_them_are_there() -> None:
    tasks = "tests/pipeline/test_tasks.py"
    for test in (*ELSEWHERE, *(f"{tasks}::{name}" for name in RUN)):
        file, *_, name = test.split("::")
        assert name in functions_of(ROOT / file), test
    source = (ROOT / tasks).read_text(encoding="utf-8")
    assert all(source.count(f'RUN["{name}"]') == 1 for name in RUN)


@pytest.mark.parametrize("command", dict.fromkeys([*commands(), *inline_commands()]), ids=str)
def test_it_is_a_command(command: Command) -> None:
    parse(command)


@pytest.mark.parametrize(
    "text",
    [
        "python -m colorgan colorise scans -o coloured",
        "python -m colorgan colorize scans -o coloured --compare sidewise",
        "python -m colorgan colorize scans --out coloured --sides 3",
        "python -m colorgan preset photo",
        "python -m colorgan verify hsv",
        "dvc exp run -S train.batchsize=32",
        "dvc exp run -S train.batch_size=none",
        "dvc exp run -S train.lr=0.1 train_hsv",
        "dvc exp run -S 'train.lr=0.1,no'",
        "dvc exp run $(python -m colorgan preset paper --path x)",
        "dvc exp ruin",
        "dvc queue start --workers 1",
        "make everything",
        "mlflow models serve --models x",
        "pip install 'colorgan[gpu]'",
        "python benchmarks/colour.py tables",
        "python benchmarks/step.py --sides 3",
        "python benchmarks/old_photos.py DATA lab sheet.png more",
        "python benchmarks/older_photos.py DATA",
        "torchrun --nodes 2 -m colorgan train lab",
        "torchrun --nnodes 2 -m colorgan train hsv",
        "rm -rf models",
    ],
)
def test_what_is_no_command_is_found(text: str) -> None:
    # Each parser has errors of its own.
    with pytest.raises((Exception, SystemExit)):
        parse(Command("a page", text))


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = link.partition("#")
            if not path.startswith(("http:", "https:")):
                target = page if not path else (page.parent / path).resolve()
                assert target.exists(), f"{page.name}: {link}"
                assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


# Parsing


def parse(command: Command) -> None:
    """Read a command as its program would, without running it; raise where that would refuse."""
    for part in command.text.split(" && "):
        words = shlex.split(re.sub(r"\$\(python -m colorgan (.*?)\)", substituted, part))
        match words:
            case ["python", "-m", "colorgan", *arguments]:
                parse_click(COLORGAN, arguments, command.inline)
            case [".venv/bin/colorgan" | "colorgan", *arguments]:
                parse_click(COLORGAN, arguments, command.inline)
            case ["python", "-m", "torch.distributed.run", *arguments] | ["torchrun", *arguments]:
                parse_torchrun(arguments)
            case ["python", script, *arguments]:
                parse_script(ROOT / script, arguments, command.inline)
            case ["dvc", *arguments]:
                parse_dvc(arguments, command.inline)
            case ["mlflow", *arguments]:
                parse_click(importlib.import_module("mlflow.cli").cli, arguments, command.inline)
            case ["make", *targets]:
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert set(targets) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
            case ["pip", "install", package]:
                parse_package(package)
            case [program, *_]:
                assert program in OTHERS, f"what is {program}?"


def substituted(found: re.Match[str]) -> str:
    """Return what `$(python -m colorgan preset ...)` prints."""
    words = shlex.split(found[1])
    parse_click(COLORGAN, words, inline=False)
    assert words[0] == "preset"
    path = Path(words[3]).expanduser() if words[2:3] == ["--path"] else None
    return presets.as_options(words[1], path)


def parse_click(command: Any, arguments: Sequence[str], inline: bool) -> None:
    """Parse the options of a command of click's or typer's; in the text, arguments may lack."""
    name = ""
    while hasattr(command, "commands"):
        if not arguments and inline:
            return
        name, *arguments = arguments
        command = command.commands[name]
    words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in arguments]
    context = command.make_context(name, list(words), resilient_parsing=inline)
    if command is COLORGAN.commands["preset"] and context.params["name"]:  # type: ignore[attr-defined]
        presets.as_options(context.params["name"], context.params["path"])


def parse_dvc(arguments: Sequence[str], inline: bool) -> None:
    parser = get_main_parser()
    if inline and not any(word.startswith("-") for word in arguments):
        # The name of a command, in a sentence.
        with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args([*arguments, "--help"])
        assert end.value.code == 0
        return
    parsed = parser.parse_args(list(arguments))
    for target in getattr(parsed, "targets", None) or ():
        assert target.partition("@")[0] in STAGES, f"there is no stage {target}"
    overrides = getattr(parsed, "set_param", None) or []
    if overrides and overrides != [PLACEHOLDER]:
        for values in get_hydra_sweeps(to_path_overrides(overrides)):
            shutil.copy(ROOT / "params.yaml", "params.yaml")
            apply_overrides("params.yaml", values["params.yaml"])
            load_params()


def parse_torchrun(arguments: Sequence[str]) -> None:
    from torch.distributed.run import get_args_parser

    parsed = get_args_parser().parse_args(list(arguments))
    if parsed.module:
        assert parsed.training_script == "colorgan"
        parse_click(COLORGAN, parsed.training_script_args, inline=False)


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts of benchmarks/ and scripts/ be imported, as they import each other."""
    for folder in ("benchmarks", "scripts"):
        monkeypatch.syspath_prepend(ROOT / folder)


def parse_script(script: Path, arguments: Sequence[str], inline: bool) -> None:
    """Parse the arguments of a script: typer's app, typer's function, or a plain `main`."""
    assert script.is_file()
    module = importlib.import_module(script.stem)
    if hasattr(module, "app"):
        parse_click(typer.main.get_command(module.app), arguments, inline)
    elif "typer.run(main)" in script.read_text(encoding="utf-8"):
        app = typer.Typer()
        app.command()(module.main)
        typer.main.get_command(app).make_context(script.name, list(arguments))
    else:
        inspect.signature(module.main).bind(*arguments)


def parse_package(package: str) -> None:
    """Check that the extras in brackets are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package.startswith(project["name"])
    extras = re.findall(r"\[(.*)\]", package)
    assert set(extras) <= set(project["optional-dependencies"])
