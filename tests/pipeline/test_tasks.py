"""The commands of README.md and docs/ as they stand there, in a trained project.

tests/test_docs.py looks for each command of a page in these texts.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession
from PIL import Image
from safetensors.numpy import load_file

from pipeline.conftest import ROOT, Project
from servers import wait_for

pytestmark = pytest.mark.slow

# In the place of the page's epochs, and LAB alone.
SHORT = "-S train.epochs=1 train_lab"


@pytest.fixture
def place(own_project: Project) -> Project:
    """A trained project, with photos to colour and an environment as `make setup` makes one."""
    folder = own_project.folder
    (folder / "scans" / "1924").mkdir(parents=True)
    # A photo: the generator leaves a drawing gray.
    with Image.open(ROOT / "data/sample/landscape/machu_picchu.webp") as image:
        photo = image.convert("L").resize((70, 50))
    for name in ("scan.jpg", "scan.tif", "scans/1924/a boat.tif", "scans/1924/a pier.jpg"):
        photo.save(folder / name)
    make_environment(folder)
    return own_project


def make_environment(folder: Path) -> None:
    """Put the environment that runs the tests where `make setup` makes one."""
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".installed":
            (folder / ".venv" / entry.name).symlink_to(entry)
    (folder / ".venv" / ".installed").touch()


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((70, 50), "RGB"), path
        return np.asarray(image)


def test_photos_are_coloured(place: Project) -> None:
    said = place.shell(
        "source .venv/bin/activate",
        ".venv/bin/colorgan colorize scan.jpg -o coloured.jpg",
        "python -m colorgan colorize scan.tif -o coloured.tif",
        "python -m colorgan colorize scans -o coloured",
        "python -m colorgan colorize 'scans/**/*.jpg' -o coloured --compare slider",
    )
    assert "2 coloured, in coloured" in said
    for name in ("coloured.jpg", "coloured.tif", "coloured/1924/a boat.tif"):
        colours = pixels(place.folder / name).astype(int)
        assert np.ptp(colours, axis=-1).mean() > 1, name
    assert [page.name for page in place.folder.rglob("coloured/**/*.html")] == [
        "a pier_compare.html"
    ]


def test_a_model_is_exported_and_colours(place: Project) -> None:
    place.shell(
        "python -m colorgan export colorgan.onnx",
        "python -m colorgan colorize scans -o coloured --model colorgan.onnx",
    )
    assert InferenceSession(place.folder / "colorgan.onnx").get_inputs()[0].name == "input"
    pixels(place.folder / "coloured" / "1924" / "a boat.tif")


def test_models_of_the_project_and_of_its_runs_colour(place: Project) -> None:
    made = {}
    for model in ("rgb", "lab", "workspace"):
        place.shell(f"python -m colorgan colorize scans -o {model} --model {model}")
        made[model] = pixels(place.folder / model / "1924" / "a boat.tif")
    # The run of this name is looked for among those of rgb first.
    assert (made["workspace"] == made["rgb"]).all()
    assert (made["lab"] != made["rgb"]).any()


def test_the_best_run_is_promoted_and_colours(place: Project) -> None:
    said = place.shell("python -m colorgan promote lab")
    assert "colorgan-lab version 1 is now the champion: CIEDE2000" in said
    assert "is already the champion" in place.shell("python -m colorgan promote lab")
    place.shell("python -m colorgan colorize scans -o out --model models:/colorgan-lab@champion")
    pixels(place.folder / "out" / "1924" / "a boat.tif")


def test_the_request_is_what_the_served_model_takes(place: Project) -> None:
    """What tests/serving sends, in curl's words: the quotes are what may go wrong."""
    program, *arguments = place.shell(
        "curl() { printf '%s\\n' curl \"$@\"; cat; }",
        "curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d @- "
        """<<< '{"dataframe_split": {"columns": ["image"], "data": """
        """[["'"$(base64 -w0 scan.jpg)"'"]]}}'""",
    ).splitlines()
    assert (program, arguments[0]) == ("curl", "http://127.0.0.1:5001/invocations")
    # From a pipe: Linux takes no argument of more than 128 kB.
    assert arguments[-3:-1] == ["-d", "@-"]
    sent = json.loads(arguments[-1])["dataframe_split"]
    assert sent["columns"] == ["image"]
    [[photo]] = sent["data"]
    assert base64.b64decode(photo) == (place.folder / "scan.jpg").read_bytes()


def test_what_is_there_is_shown_and_not_made_again(place: Project) -> None:
    said = place.shell(
        "make repro",
        "dvc repro train_lab",
        "dvc repro preprocess@rgb preprocess@lab",
        "dvc exp run -S runtime.devices=auto",
        "dvc exp show",
        "python -m colorgan preset",
        "python -m colorgan summary",
    )
    assert place.stages_run(said) == []
    assert "lab generated" in said
    assert "scratch " in said


def test_a_run_is_repeated(place: Project) -> None:
    assert "agrees, bit for bit" in place.shell("python -m colorgan verify lab")


def test_training_begins_with_weights_of_ones_own(place: Project) -> None:
    """20 epochs are one here."""
    said = place.shell(
        "cp -r models/lab models/lab-first",
        "dvc exp run -S '+lab.train.init=models/lab-first' -S train.epochs=20",
        **{"-S train.epochs=20": SHORT},
    )
    assert place.stages_run(said) == ["train_lab"]
    params = place.folder / "params.yaml"
    assert "init: models/lab-first" in params.read_text(encoding="utf-8")
    first, then = (
        load_file(place.folder / "models" / name / "generator.safetensors")
        for name in ("lab-first", "lab")
    )
    name = max(first, key=lambda key: first[key].size)
    assert np.abs(first[name] - then[name]).max() < 0.01, "not far from where it began"
    said = place.shell("dvc exp run -S '+lab.train.lr=0.0001' " + SHORT)
    assert place.stages_run(said) == ["train_lab"]
    assert "lr: 0.0001" in params.read_text(encoding="utf-8")


def test_a_sweep_is_queued(place: Project) -> None:
    place.shell(
        "dvc exp run --queue -S 'train.lr=0.0001,0.0002,0.0004' -S 'train.batch_size=16,32'"
    )
    assert place.shell("dvc queue status").count("Queued") == 6


def test_a_queue_runs_and_its_experiments_are_compared(place: Project) -> None:
    """Two small experiments to their ends, and one that would take hours and is killed."""
    for size in (32, 8):
        place.shell(f"dvc exp run --queue -n batch-{size} -S train.batch_size={size} {SHORT}")
    long = SHORT.replace("train.epochs=1", "train.epochs=2400")
    place.shell(f"dvc exp run --queue -n endless {long}")
    # Its worker lives on, and would keep a pipe open.
    place.shell(f"dvc queue start -j 1 > {os.devnull} 2>&1")

    def says(command: str, *words: str) -> None:
        """Wait until a command prints a line with all these words."""

        def shown() -> bool:
            lines = place.run("bash", "-c", command, check=False).splitlines()
            return any(all(word in line for word in words) for line in lines)

        wait_for(shown, pause=1)

    says("dvc queue status", "endless", "Running")
    says("dvc queue logs endless", "train lab: epoch")
    place.shell("dvc queue kill NAME", NAME="endless")
    says("dvc queue status", "endless", "Failed")
    says("dvc queue status", "batch-8", "Success")
    assert "Running stage 'train_lab'" in place.shell("dvc queue logs NAME", NAME="batch-8")
    assert "batch-32" in place.shell("dvc exp show --only-changed")
    assert "train.batch_size" in place.shell("dvc exp diff batch-32 batch-8")
    page = place.shell("dvc plots diff batch-32 batch-8").strip().splitlines()[-1]
    assert "L1 loss of the generator (LAB)" in Path(page.removeprefix("file://")).read_text("utf-8")


def test_data_and_models_are_shared_through_a_remote(place: Project, tmp_path: Path) -> None:
    """One pushes to a folder and to a bare repository, another clones, pulls and colours."""
    hub = tmp_path / "hub.git"
    place.push_to(hub)
    place.shell(
        "dvc remote add -d storage /mnt/storage/colorgan",
        "dvc push",
        "git add .dvc/config dvc.lock params.yaml reports",
        'git commit -m "Train with batches of 32"',
        "git push",
        **{"/mnt/storage": str(tmp_path / "storage")},
    )
    clone = "git clone ADDRESS colorgan && cd colorgan && make setup && source .venv/bin/activate"
    get, *prepare = clone.split(" && ")
    other = Project(tmp_path, place.env)
    other.shell(get, ADDRESS=str(hub))
    make_environment(tmp_path / "colorgan")
    shutil.copytree(place.folder / "scans", tmp_path / "colorgan" / "scans")
    said = other.shell(
        *prepare,
        "dvc pull",
        "python -m colorgan colorize scans -o coloured --model lab",
        "dvc repro",
    )
    assert place.stages_run(said) == []
    for name in ("models/lab/generator.safetensors", "data/processed/lab/train/input.npy"):
        there, here = (folder / name for folder in (tmp_path / "colorgan", place.folder))
        assert there.read_bytes() == here.read_bytes()
    pixels(tmp_path / "colorgan" / "coloured" / "1924" / "a boat.tif")
