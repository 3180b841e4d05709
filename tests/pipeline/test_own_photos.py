"""Photos of one's own under the real DVC, and a project that came without git."""

from __future__ import annotations

import os
import shutil

from pipeline.conftest import ROOT, Project

BUNDLED = sorted((ROOT / "data/sample").glob("*/*.webp"))[:13]


def test_new_photos_are_noticed_and_thumbnails_are_not_taken(own_project, tmp_path) -> None:
    pictures = tmp_path / "my pictures"
    (pictures / "@eaDir/1.webp").mkdir(parents=True)
    shutil.copy(BUNDLED[-1], pictures / "@eaDir/1.webp/SYNOPHOTO_THUMB_XL.webp")
    for number, photo in enumerate(BUNDLED[:12]):
        shutil.copy(photo, pictures / f"{number}.webp")
    own_project.run(
        "python", "-m", "colorgan", "preset", "photos", "--path", str(pictures), "--write"
    )
    both = ["download@lab", "preprocess@lab"]
    said = own_project.run("dvc", "repro", "preprocess@lab")
    assert own_project.stages_run(said) == both
    assert f"12 photos in {pictures}\n" in said
    assert "left out, and listed in ignored.txt among the raw files: 1 x a folder of the " in said
    assert own_project.stages_run(own_project.run("dvc", "repro", "preprocess@lab")) == []
    shutil.copy(BUNDLED[-1], pictures)
    said = own_project.run("dvc", "repro", "preprocess@lab")
    assert own_project.stages_run(said) == both
    assert f"13 photos in {pictures}\n" in said
    # DVC alone would wait for ever.
    os.mkfifo(pictures / "pipe")
    said = own_project.run("make", "-o", ".venv/.installed", "repro", check=False)
    assert f"colorgan: '{pictures / 'pipe'}' is not a regular file: DVC reads every file" in said


def test_a_project_without_git_runs_too(own_project: Project) -> None:
    shutil.rmtree(own_project.folder / ".git")
    (own_project.folder / "reports/report.html").unlink()
    # The environment is that of the tests.
    said = own_project.run("make", "-o", ".venv/.installed", "repro")
    assert own_project.stages_run(said) == []
    assert "reports/report.html" in said
    assert (own_project.folder / "reports/report.html").exists()
