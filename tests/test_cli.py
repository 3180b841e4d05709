"""The command line: commands, sentences, exit codes, and whose code runs."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "src"
STAGES = ("download", "preprocess", "train", "evaluate", "render-grids")
TOOLS = ("summary", "preset", "verify", "sync", "ui", "colorize", "export", "app", "promote")


def python_m_colorgan(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "colorgan", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def test_every_command_has_help(colorgan: Callable[..., Any]) -> None:
    said = colorgan("-h")
    assert said.code == 0
    for command in (*STAGES, *TOOLS):
        assert f" {command} " in said.out
        assert f"colorgan {command} " in colorgan(command, "--help").out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("trian", "lab"), "No such command 'trian'"),
        (("train", "hsv"), "'hsv' is not one of 'rgb', 'lab'"),
        (("train",), "Missing argument"),
        (("train", "lab", "--lr", "1"), "No such option: --lr"),
    ],
)
def test_wrong_arguments_are_exit_code_2(colorgan, arguments, sentence) -> None:
    said = colorgan(*arguments)
    assert said.code == 2
    assert sentence in " ".join(said.err.replace("│", " ").split())


def test_a_working_folder_that_is_deleted_is_no_traceback(tmp_path: Path) -> None:
    command = ["sh", "-c", 'rmdir "$PWD"; exec "$0" -m colorgan preset', sys.executable]
    (tmp_path / "gone").mkdir()
    ended = subprocess.run(command, cwd=tmp_path / "gone", capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_password_in_an_address_is_not_shown(colorgan) -> None:
    model = "https://me:s3cr@host/x?token=s3cr"
    said = colorgan("colorize", "a.jpg", "-o", "b.jpg", "--model", model)
    assert said.code == 1
    assert "https://***" in said.err
    assert "s3cr" not in said.err


def test_stages_say_what_they_did(write_photos, colorgan) -> None:
    write_photos(sea=10)
    assert colorgan("download", "lab").out == "download lab: 11 files\n"
    said = colorgan("preprocess", "lab")
    assert said.out == "preprocess lab: 7 train, 1 val, 2 test photos of 32 px, 0 rejected\n"


def first_line_of_failure(said: Any) -> str:
    assert said.code == 1
    assert "Traceback" not in said.err
    return str(said.err.splitlines()[0])


@pytest.mark.parametrize(
    ("stage", "before"),
    [
        ("preprocess", "download@rgb` (or `python -m colorgan download rgb`) first"),
        ("train", "preprocess@rgb` (or `python -m colorgan preprocess rgb`) first"),
        ("summary", "evaluate` (or `python -m colorgan evaluate`) first"),
    ],
)
def test_a_stage_names_the_one_before(project, colorgan, stage, before) -> None:
    said = colorgan(*([stage] if stage == "summary" else [stage, "rgb"]))
    assert f"run `dvc repro {before}" in first_line_of_failure(said)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.npy"), "no space left on the disk of"),
        (PermissionError(errno.EACCES, "Permission denied", "a.npy"), "a.npy: Permission denied"),
        (ZeroDivisionError(), ""),
    ],
)
def test_what_the_system_refuses_is_a_sentence_and_a_bug_a_traceback(
    project, colorgan, monkeypatch, error, line
) -> None:
    def fail(*given: object) -> None:
        raise error

    monkeypatch.setattr("colorgan.data.download.download", fail)
    if isinstance(error, OSError):
        assert first_line_of_failure(colorgan("download", "lab")).startswith(f"colorgan: {line}")
    else:
        with pytest.raises(type(error)):
            colorgan("download", "lab")


def test_an_optional_package_that_is_missing_names_its_extra(colorgan, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "colorgan.serving.web", raising=False)
    line = first_line_of_failure(colorgan("app"))
    assert line == (
        "colorgan: this command needs uvicorn, which is not installed: pip install 'colorgan[app]'"
    )


def test_a_terminal_without_a_character_shows_its_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "colorgan", "colorize", "\u5199.png", "-o", "out"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252:strict"}
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, check=False, timeout=120
    )
    assert ended.returncode == 1
    assert ended.stdout == b"colorize: 0 coloured, in out\n"
    assert ended.stderr.startswith(b"colorgan: \\u5199.png: no picture there")


def test_a_copy_of_the_project_runs_its_own_code(project: Path) -> None:
    """As `dvc exp run --temp` and `--queue` need it: not the code of the installed package.

    The processes that it starts do so too.
    """
    help_here = "Train GANs that colour gray photographs"
    assert help_here in python_m_colorgan("--help", cwd=project).stdout
    shutil.copytree(SOURCE, project / "src", ignore=shutil.ignore_patterns("__pycache__"))
    cli = project / "src/colorgan/cli.py"
    cli.write_text(cli.read_text(encoding="utf-8").replace(help_here, "The copy"), encoding="utf-8")
    says = python_m_colorgan("--help", cwd=project).stdout
    assert "The copy" in says
    assert help_here not in says
    code = (
        "import sys, subprocess, pathlib; from colorgan.__main__ import use_code_of;"
        "use_code_of(pathlib.Path.cwd());"
        "subprocess.run([sys.executable, '-c', 'import colorgan; print(colorgan.__file__)'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(ended.stdout.strip()) == project / "src/colorgan/__init__.py"
