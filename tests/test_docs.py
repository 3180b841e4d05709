"""What README.md and docs/ tell people to type: each command parses, and a test runs it.

A fenced block without a language is commands, one a line (or several lines joined by a backslash);
`python` is Python and `text` is what is printed.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from dvc.cli.parser import get_main_parser
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

from colorgan import cli, presets
from colorgan.config import load_params, read_yaml

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = r"(?:python -m colorgan|python benchmarks/|colorgan|dvc|make|mlflow|torchrun|git|pip)"
INLINE = re.compile(rf"`({PROGRAMS}[ \w][^`]*)`")
TRACKED = re.compile(r"`((?:\.ci|benchmarks|docs|notebooks|scripts|src|tests)/[\w./-]+)`")
COLORGAN = typer.main.get_command(cli.app)
# Programs that are not this project's, nor of a library of its: what they take is theirs to say.
OTHERS = {"bash", "cd", "cp", "curl", "find", "git", "kill", "mlflow", "pip", "ps", "source"}
PRESET = "dvc exp run $(python -m colorgan preset {})"

# Run by these tests, with other values, ports or photos than the page's. All other commands stand
# in a test as they stand on the page, or under NOT_RUN.
ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "tests/pipeline/test_pipeline.py::"
    "test_parameters_of_training_retrain_both_and_nothing_before": (
        "dvc exp run -n batch-32 -S train.batch_size=32",
    ),
    "tests/pipeline/test_presets.py::test_a_source_up_to_the_arrays": (
        PRESET.format("stl10"),
        PRESET.format("photos --path ~/pictures"),
    ),
    "tests/pipeline/test_ui.py::test_runs_are_listed_by_experiment_and_stage": ("make ui",),
    "tests/test_verify.py::test_a_run_is_found_by_name_and_by_the_model_here": (
        "python -m colorgan verify rgb --run 79d9f5a4a4314b23925aca2343d878f1",
    ),
    "tests/pipeline/test_verify.py::test_an_experiment_with_uncommitted_code_is_repeated_"
    "bit_for_bit": ("python -m colorgan verify lab --run batch-32",),
    "tests/serving/test_served.py::test_each_row_has_its_picture_or_its_error": (
        "mlflow models serve -m models:/colorgan-lab@champion --env-manager local --port 5001",
    ),
    "tests/serving/test_web.py::test_a_photo_comes_back_in_its_format": (
        ".venv/bin/colorgan app",
        "python -m colorgan app",
    ),
    "tests/test_presets.py::test_writing_touches_only_the_lines_of_its_values": (
        "python -m colorgan preset scratch --write",
    ),
    "tests/test_presets.py::test_photos_takes_its_source_from_the_files": (
        "python -m colorgan preset photos --path PHOTOS --write",
    ),
}

# Run by no test: the reason, and how the commands begin.
NOT_RUN: Mapping[str, tuple[str, ...]] = {
    "test_optimizations.py runs it at a tiny size": (
        "bash benchmarks/gpu.sh",
        "python benchmarks/optimizations.py",
    ),
    "it is what runs the tests": ("make test",),
    "it takes several machines": ("torchrun --nnodes 2 ",),
    "hours, or photos that are not part of the project": (
        "python benchmarks/colour.py ",
        PRESET.format("photos --path ~/pictures") + " $(python -m colorgan preset encoder)",
    ),
}


@dataclass(frozen=True)
class Command:
    """A command of a page, on one line and without its comment."""

    page: str
    text: str
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def commands() -> Iterator[Command]:
    """Yield the commands of the fenced blocks of all pages."""
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "":
                for line in re.sub(r" *\\\n\s*", " ", block).splitlines():
                    if text := re.sub(r"\s+# .*|^# .*", "", line).strip():
                        yield Command(page.name, text)


def inline_commands() -> Iterator[Command]:
    """Yield what the text around the blocks has in backticks and looks like a command."""
    for page in PAGES:
        for found in INLINE.findall(prose(page)):
            yield Command(page.name, " ".join(found.split()), inline=True)


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the project's parameters, and photos wherever the pages say they are."""
    for name in ("colorgan/PHOTOS", "pictures"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", tmp_path / "colorgan")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "colorgan")
    for folder in ("benchmarks", "scripts"):
        monkeypatch.syspath_prepend(ROOT / folder)


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = FENCE.findall(text)
        assert text.count("```") == 2 * len(found), page
        assert {language for language, _ in found} <= {"", "python", "text"}, page


def test_every_command_is_run_by_a_test_or_has_a_reason_not_to_be() -> None:
    texts, functions = [], {}
    for file in (ROOT / "tests").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        functions[file] = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        if file != Path(__file__):
            found = (node.value for node in nodes if isinstance(node, ast.Constant))
            texts += [text for text in found if isinstance(text, str) and " " in text]
    for test, run in ELSEWHERE.items():
        file, _, name = test.partition("::")
        assert name in functions[ROOT / file], f"{test} is gone"
        texts += run
    # tests/pipeline/test_recover.py reads its commands from the page.
    texts += [command.text for command in commands() if command.page == "recover.md"]
    not_run = tuple(start for starts in NOT_RUN.values() for start in starts)
    said = {command.text for command in commands()}
    assert len(said) > 30
    lost = {s for s in said if not s.startswith(not_run) and not any(s in text for text in texts)}
    assert not lost, "in no test: run them in tests/pipeline/test_tasks.py, or add them above"


@pytest.mark.parametrize(
    "command", {(c.text, c.inline): c for c in (*commands(), *inline_commands())}.values(), ids=str
)
def test_it_is_a_command(command: Command) -> None:
    parse(command)


@pytest.mark.parametrize(
    "text",
    [
        "python -m colorgan colorise scans -o coloured",
        "python -m colorgan colorize scans --out coloured --sides 3",
        "python -m colorgan verify hsv",
        "dvc exp run -S train.batchsize=32",
        "dvc exp run -S 'train.lr=0.1,no'",
        "dvc exp run -S train.lr=0.1 train_hsv",
        "dvc exp run $(python -m colorgan preset paper --path x)",
        "dvc exp ruin",
        "make everything",
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
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            path, _, anchor = link.partition("#")
            if not path.startswith(("http:", "https:")):
                target = page if not path else (page.parent / path).resolve()
                assert target.exists(), f"{page.name}: {link}"
                assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_a_page_names_are_there(page: Path) -> None:
    assert [name for name in TRACKED.findall(prose(page)) if not (ROOT / name).exists()] == []


# Parsing


def parse(command: Command) -> None:
    """Read a command as its program would, without running it; raise where that would refuse."""
    for part in command.text.split(" && "):
        words = shlex.split(re.sub(r"\$\(python -m colorgan (.*?)\)", substituted, part))
        match words:
            case ["torchrun", *arguments]:
                parse_torchrun(arguments)
            case ["python", "-m", "colorgan", *arguments] | [
                ".venv/bin/colorgan" | "colorgan",
                *arguments,
            ]:
                parse_click(COLORGAN, arguments, command.inline)
            case ["python", script, *arguments]:
                parse_script(ROOT / script, arguments, command.inline)
            case ["dvc", *arguments]:
                parse_dvc(arguments, command.inline)
            case ["make", *targets]:
                makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
                assert set(targets) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
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
    """Parse the options of a click or typer command; within a sentence, arguments may lack."""
    name = ""
    while hasattr(command, "commands"):
        if not arguments and inline:
            return
        name, *arguments = arguments
        command = command.commands[name]
    words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in arguments]
    command.make_context(name, words, resilient_parsing=inline)


def parse_dvc(arguments: Sequence[str], inline: bool) -> None:
    """Parse a command of DVC; its targets must be stages, its `-S` values must be accepted."""
    parser = get_main_parser()
    if inline and not any(word.startswith("-") for word in arguments):
        # The name of a command, within a sentence.
        with pytest.raises(SystemExit) as end, contextlib.redirect_stdout(None):
            parser.parse_args([*arguments, "--help"])
        assert end.value.code == 0
        return
    parsed = parser.parse_args(list(arguments))
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    for target in getattr(parsed, "targets", None) or ():
        assert target.partition("@")[0] in stages, f"there is no stage {target}"
    overrides = getattr(parsed, "set_param", None) or []
    if overrides and overrides != ["..."]:
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


def parse_script(script: Path, arguments: Sequence[str], inline: bool) -> None:
    """Parse the arguments of a script: of its typer app or of its `main`."""
    module = importlib.import_module(script.stem)
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer()
        app.command()(module.main)
    parse_click(typer.main.get_command(app), arguments, inline)
