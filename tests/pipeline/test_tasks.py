"""The commands of README.md and docs/ as they stand there, in a trained project.

Which test runs which command: documented.RUN.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession
from PIL import Image
from safetensors.numpy import load_file

from documented import RUN
from pipeline.conftest import Project

pytestmark = pytest.mark.slow

COLORGAN = ("python", "-m", "colorgan")
SECONDS_TO_WAIT = 240


@pytest.fixture(autouse=True)
def back_to_first_run(project: Project) -> Iterator[None]:
    """Give each test the state of the first run, with photos to colour and an environment."""
    folder = project.folder / "scans" / "1924"
    folder.mkdir(parents=True)
    ramp = Image.fromarray(np.linspace(0, 255, 50 * 70).reshape(50, 70).astype(np.uint8))
    ramp.save(folder / "a boat.tif", dpi=(300, 300))
    ramp.save(folder / "a pier.jpg")
    for name in ("scan.jpg", "scan.tif"):
        ramp.save(project.folder / name)
    make_environment(project.folder)
    head = project.run("git", "rev-parse", "HEAD").strip()
    yield
    project.run("dvc", "queue", "remove", "--all", check=False)
    project.run("git", "reset", "--quiet", "--hard", head)
    project.run("git", "clean", "-fdq")
    project.run("dvc", "checkout", "--quiet", "--force")
    shutil.rmtree(project.folder / ".venv")


def make_environment(folder: Path) -> None:
    """Put the environment that runs the tests where `make setup` makes one."""
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".installed":
            (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv" / ".installed").touch()


def shell(project: Project, *commands: str, **replaced: str) -> str:
    """Run the commands in one shell that stops at the first that fails; return what they printed.

    Words that stand for something of one's own are replaced.
    """
    script = "\n".join(("set -e", *commands))
    for word, own in replaced.items():
        assert word in script
        script = script.replace(word, own)
    return project.run("bash", "-c", script)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((70, 50), "RGB"), path
        return np.asarray(image)


def test_photos_are_coloured(project: Project) -> None:
    said = shell(project, *RUN["test_photos_are_coloured"])
    assert "2 coloured, in coloured" in said
    for name in ("coloured.jpg", "coloured.tif", "coloured/1924/a boat.tif"):
        colours = pixels(project.folder / name).astype(int)
        assert np.ptp(colours, axis=-1).mean() > 1, name
    assert [page.name for page in project.folder.rglob("coloured/**/*.html")] == [
        "a pier_compare.html"
    ]


def test_a_model_is_exported_and_colours(project: Project) -> None:
    export, colour = RUN["test_a_model_is_exported_and_colours"]
    shell(project, export, colour)
    assert InferenceSession(project.folder / "colorgan.onnx").get_inputs()[0].name == "input"
    pixels(project.folder / "coloured" / "1924" / "a boat.tif")


def test_models_of_the_project_and_of_its_runs_colour(project: Project) -> None:
    made = {}
    for model in ("rgb", "lab", "workspace"):
        out = project.folder / model
        project.run(*COLORGAN, "colorize", "scans", "-o", str(out), "--model", model)
        made[model] = pixels(out / "1924" / "a boat.tif")
    # The run of this name is looked for among those of rgb first.
    assert (made["workspace"] == made["rgb"]).all()
    assert (made["lab"] != made["rgb"]).any()


def test_the_best_run_is_promoted_and_colours(project: Project) -> None:
    said = project.run(*COLORGAN, "promote", "lab")
    assert "colorgan-lab version 1 is now the champion: score" in said
    assert "is already the champion" in project.run(*COLORGAN, "promote", "lab")
    champion = ("--model", "models:/colorgan-lab@champion")
    project.run(*COLORGAN, "colorize", "scans", "-o", "out", *champion)
    pixels(project.folder / "out" / "1924" / "a boat.tif")


def test_the_request_is_what_the_served_model_takes(project: Project) -> None:
    """What tests/serving sends, in curl's words: the quotes are what may go wrong."""
    [command] = RUN["test_the_request_is_what_the_served_model_takes"]
    program, *arguments = shell(
        project, "curl() { printf '%s\\n' curl \"$@\"; }", command
    ).splitlines()
    assert (program, arguments[0]) == ("curl", "http://127.0.0.1:5001/invocations")
    sent = json.loads(arguments[arguments.index("-d") + 1])["dataframe_split"]
    assert sent["columns"] == ["image"]
    [[photo]] = sent["data"]
    assert base64.b64decode(photo) == (project.folder / "scan.jpg").read_bytes()


def test_what_is_there_is_shown_and_not_made_again(project: Project) -> None:
    said = shell(project, *RUN["test_what_is_there_is_shown_and_not_made_again"])
    assert project.stages_run(said) == []
    for what in ("lab generated", "nothing to mend", "scratch "):
        assert what in said


def test_a_run_is_repeated(project: Project) -> None:
    assert "agrees, bit for bit" in shell(project, *RUN["test_a_run_is_repeated"])


def test_training_begins_with_weights_of_ones_own(project: Project) -> None:
    """20 epochs are one here, and LAB alone is trained."""
    copy, begin, slower = RUN["test_training_begins_with_weights_of_ones_own"]
    few = {"train.epochs=20": "train.epochs=1 -S train.decay_epochs=0 train_lab"}
    said = shell(project, copy, begin, **few)
    assert project.stages_run(said) == ["train_lab"]
    config = (project.folder / "params.yaml").read_text(encoding="utf-8")
    assert "init: models/lab-first" in config
    first, then = (
        load_file(project.folder / "models" / name / "generator.safetensors")
        for name in ("lab-first", "lab")
    )
    name = max(first, key=lambda key: first[key].size)
    assert np.abs(first[name] - then[name]).max() < 0.01, "not far from where it began"
    said = shell(project, f"{slower} -S train.epochs=1 -S train.decay_epochs=0 train_lab")
    assert project.stages_run(said) == ["train_lab"]
    assert "lr: 0.0001" in (project.folder / "params.yaml").read_text(encoding="utf-8")


def test_a_sweep_is_queued(project: Project) -> None:
    sweep, status = RUN["test_a_sweep_is_queued"]
    shell(project, sweep)
    assert shell(project, status).count("Queued") == 6


def test_a_queue_runs_and_its_experiments_are_compared(project: Project) -> None:
    """Two small experiments to their ends, and one that would take hours and is killed."""
    start, kill, logs, *compare = RUN["test_a_queue_runs_and_its_experiments_are_compared"]
    few = "-S train.epochs=1 -S train.decay_epochs=0 train_lab"
    for size in (32, 8):
        # Another test of this project may have made one of the same name.
        project.run("dvc", "exp", "remove", f"batch-{size}", check=False)
        options = f"-n batch-{size} -S train.batch_size={size} {few}"
        shell(project, f"dvc exp run --queue {options}")
    long = few.replace("train.epochs=1", "train.epochs=2400")
    shell(project, f"dvc exp run --queue -n endless {long}")
    # Its worker lives on, and would keep a pipe open.
    shell(project, f"{start} > {os.devnull} 2>&1")
    wait_for(project, "endless", "Running")
    assert "train lab: epoch" in wait_for_log(project, logs)
    shell(project, kill, NAME="endless")
    wait_for(project, "endless", "Failed")
    wait_for(project, "batch-8", "Success")
    assert "Running stage 'train_lab'" in shell(project, logs, NAME="batch-8")
    shown, diff, plots = compare
    assert "batch-32" in shell(project, shown)
    assert "train.batch_size" in shell(project, diff)
    page = shell(project, plots).strip().splitlines()[-1]
    assert "reports/lab/losses.csv" in Path(page.removeprefix("file://")).read_text("utf-8")


def wait_for_log(project: Project, logs: str) -> str:
    """Return the log of the experiment that never ends when its training has said something."""
    end = time.monotonic() + SECONDS_TO_WAIT
    while "train lab: epoch" not in (said := shell(project, logs, NAME="endless")):
        assert time.monotonic() < end, said
        time.sleep(1)
    return said


def wait_for(project: Project, name: str, state: str) -> None:
    """Wait until `dvc queue status` says this of an experiment."""
    end = time.monotonic() + SECONDS_TO_WAIT
    while True:
        said = project.run("dvc", "queue", "status")
        if any(name in line and state in line for line in said.splitlines()):
            return
        assert time.monotonic() < end, f"{name} is not {state}:\n{said}"
        time.sleep(1)


def test_data_and_models_are_shared_through_a_remote(project: Project, tmp_path: Path) -> None:
    """One pushes to a folder and to a bare repository, another clones, pulls and colours."""
    *here, clone, pull, colour, repro = RUN["test_data_and_models_are_shared_through_a_remote"]
    hub = tmp_path / "hub.git"
    shell(project, f"git init --quiet --bare --initial-branch=main {shlex.quote(str(hub))}",
          f"git remote add origin {shlex.quote(str(hub))}",
          "git push --quiet --set-upstream origin main")  # fmt: skip
    try:
        shell(project, *here, **{"/mnt/storage": str(tmp_path / "storage")})
    finally:
        shell(project, "git remote remove origin")
    other = Project(tmp_path, project.env)
    get, enter, make, activate = clone.split(" && ")
    shell(other, get, ADDRESS=str(hub))
    make_environment(tmp_path / "colorgan")
    shutil.copytree(project.folder / "scans", tmp_path / "colorgan" / "scans")

    said = shell(other, f"{enter} && {make} && {activate}", pull, colour, repro)

    assert project.stages_run(said) == []
    for name in ("models/lab/generator.safetensors", "data/processed/lab/train/input.npy"):
        there, here_ = (folder / name for folder in (tmp_path / "colorgan", project.folder))
        assert there.read_bytes() == here_.read_bytes()
    pixels(tmp_path / "colorgan" / "coloured" / "1924" / "a boat.tif")
