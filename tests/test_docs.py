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
from collections.abc import Iterator, Sequence
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
OTHERS = {
    "bash", "cd", "cp", "curl", "docker", "export", "find", "git", "kill", "mlflow", "pip", "ps",
    "ray", "source",
}  # fmt: skip
PRESET = "dvc exp run $(python -m colorgan preset {})"

# Commands, by their beginning, that stand in no test as they stand on the page. All others do.
NOT_AS_IT_STANDS = (
    # Run with other values, ports or photos, in the tests named.
    "dvc exp run -n batch-32 -S train.batch_size=32",  # pipeline/test_pipeline.py
    PRESET.format("stl10"),  # pipeline/test_presets.py
    PRESET.format("photos --path ~/pictures"),
    "make ui",  # pipeline/test_ui.py
    "mlflow gc ",  # tracking/test_store.py
    "python -m colorgan verify rgb --run ",  # test_verify.py
    "python -m colorgan verify lab --run ",  # pipeline/test_verify.py
    "mlflow models serve ",  # serving/test_served.py
    ".venv/bin/colorgan app",  # serving/test_web.py
    "python -m colorgan app",
    "python -m colorgan preset scratch --write",  # test_presets.py
    "python -m colorgan preset photos --path PHOTOS --write",
    "bash benchmarks/gpu.sh",  # benchmark/test_benchmarks.py
    "python benchmarks/optimizations.py",
    "python benchmarks/blind_test.py ",
    # Not run: what runs the tests, what needs containers or several machines, what takes hours.
    "python -m colorgan cluster colorize /mnt/scans",  # cluster/test_colorize.py
    "python -m colorgan cluster train lab --workers 8",  # cluster/test_train.py
    "python -m colorgan cluster tune lab --trials 20",  # cluster/test_tune.py
    "make test",
    "docker compose ",
    "torchrun --nnodes 2 ",
    "python benchmarks/colour.py ",
    "git worktree add ../before 57ed6e7",
    "python benchmarks/compare_models.py ",
    "pip install 'colorgan[cluster]'",
    "ray start ",
    "python -m colorgan cluster colorize s3:",
)


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
    # tests/pipeline/test_recover.py reads its commands from the page.
    texts = [command.text for command in commands() if command.page == "recover.md"]
    for file in {*(ROOT / "tests").rglob("*.py")} - {Path(__file__)}:
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        texts += [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    said = {c.text for c in commands() if not c.text.startswith(NOT_AS_IT_STANDS)}
    assert len(said) > 30
    lost = {command for command in said if not any(command in text for text in texts)}
    assert not lost, "in no test: run them in tests/pipeline/test_tasks.py, or add them above"


@pytest.mark.parametrize(
    "command", {(c.text, c.inline): c for c in (*commands(), *inline_commands())}.values(), ids=str
)
def test_it_is_a_command(command: Command) -> None:
    parse(command)


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
