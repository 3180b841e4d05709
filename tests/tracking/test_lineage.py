"""Where a run comes from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from colorgan.tracking import lineage


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with params.yaml and a report in its only commit; the working directory."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "-q")
    (folder / "params.yaml").write_text("lr: 1\n")
    (folder / ".gitignore").write_text("*.db\n")
    (folder / "reports").mkdir()
    (folder / "reports" / "losses.csv").write_text("1\n")
    git("add", ".")
    git("commit", "-qm", "first")
    return folder


def test_a_clean_repository_is_its_commit_and_a_staged_change_is_in_the_diff(repository) -> None:
    (repository / "mlflow.db").write_text("ignored by git")
    assert lineage.git_state(repository) == (git("rev-parse", "HEAD"), "")
    (repository / "params.yaml").write_text("lr: 2\n")
    git("add", "params.yaml")
    assert "-lr: 1\n+lr: 2\n" in lineage.git_state(repository)[1]


def test_settings_of_the_user_do_not_change_the_diff(repository: Path) -> None:
    """It is applied at the top of a clone, by a git that wants lines around a change."""
    inner = repository / "inner"
    inner.mkdir()
    lines = [f"{n}\n" for n in range(9)]
    (inner / "numbers").write_text("".join(lines))
    git("add", ".")
    git("commit", "-qm", "second")
    (inner / "numbers").write_text("".join([*lines[:4], "x\n", *lines[5:]]))
    before = lineage.git_state(inner)[1]
    for name, value in (("relative", "true"), ("context", "0"), ("noprefix", "true")):
        git("config", f"diff.{name}", value)
    assert lineage.git_state(inner)[1] == before
    assert before.startswith("diff --git a/inner/numbers b/inner/numbers\n")
    assert "\n 1\n 2\n 3\n-4\n+x\n 5\n 6\n 7\n" in before


def test_a_change_of_the_same_size_within_a_second_is_seen(repository: Path) -> None:
    """As DVC makes it under `dvc exp run --temp -S`, where `git status` takes it for clean."""
    git("config", "core.trustctime", "false")
    params = repository / "params.yaml"
    before = params.stat()
    params.write_text("lr: 2\n")
    os.utime(params, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(repository / ".git" / "index", (before.st_mtime + 10, before.st_mtime + 10))
    assert git("status", "--porcelain") == ""
    assert "-lr: 1\n+lr: 2\n" in lineage.git_state(repository)[1]


def test_new_files_are_named_and_what_the_stages_write_does_not_count(repository: Path) -> None:
    (repository / "größe.py").write_text("x = 1\n")
    (repository / "reports" / "losses.csv").unlink()
    (repository / "dvc.lock").write_text("new")
    assert lineage.git_state(repository)[1] == "new, not in git: größe.py\n"


def test_no_repository_no_first_commit_and_no_git_are_no_commit(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lineage.git_state(tmp_path) == ("", "")
    empty = tmp_path / "empty"
    empty.mkdir()
    git("-C", str(empty), "init", "-q")
    assert lineage.git_state(empty) == ("", "")
    monkeypatch.setenv("PATH", "")
    assert lineage.git_state(repository) == ("", "")
