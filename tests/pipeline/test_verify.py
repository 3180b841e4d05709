"""`verify` on the real pipeline: an experiment is trained again in a worktree, and compared."""

from __future__ import annotations

import pytest

from pipeline.conftest import Project

pytestmark = pytest.mark.slow


def test_an_experiment_with_uncommitted_code_is_repeated_bit_for_bit(project: Project) -> None:
    code = project.folder / "src" / "colorgan" / "training" / "train.py"
    with code.open("a", encoding="utf-8") as file:
        file.write('print("this is the edited code")\n')
    # Other photos than those of the workspace: DVC restores them in the worktree.
    values = ("-S", "train.seed=9", "-S", "lab.limit=48", "-S", "train.epochs=2")
    project.run("dvc", "exp", "run", "-n", "edited", *values, "train_lab")
    project.run("git", "reset", "--quiet", "--hard")
    project.run("dvc", "checkout", "--quiet", "--force")
    before = project.digests()

    output = project.run("python", "-m", "colorgan", "verify", "lab", "--run", "edited")

    assert "with uncommitted changes" in output
    assert "this is the edited code" in output
    assert "agrees, bit for bit" in output
    assert project.digests() == before
    assert not list((project.folder / ".resume").glob("verify-*"))
    assert len(project.run("git", "worktree", "list").splitlines()) == 1
    assert project.run("git", "status", "--porcelain").strip() == ""
    assert project.runs()["edited / train_lab"].data.tags["verified"] == "bit for bit"


def test_after_its_run_was_deleted_a_training_is_recorded_anew(own_project: Project) -> None:
    project = own_project
    (project.folder / "mlflow.db").unlink()
    said = project.run("python", "-m", "colorgan", "promote", "lab", check=False)
    assert "no run was recorded yet" in said
    before = project.digests()
    said = project.run(*["dvc", "repro", "--force", "--single-item", "train_lab"])
    assert "trained to the end already" in said
    assert project.digests() == before
    assert "is now the champion" in project.run("python", "-m", "colorgan", "promote", "lab")
