"""The best run on the same data becomes the champion, once; and what MLflow then serves."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from colorgan import files
from colorgan.coloring.network import load_network
from colorgan.data.arrays import DatasetInfo
from colorgan.errors import ColorganError
from colorgan.model import WEIGHTS, build_generator, save_model
from colorgan.networks import initialise
from colorgan.params import Params
from colorgan.serving.promote import promote
from colorgan.spaces import get_space
from colorgan.tracking.mlflow_sink import MlflowClient
from colorgan.tracking.recorder import RunDescription, open_recorder

DATA, OTHER_DATA = "a" * 64, "b" * 64
Train = Callable[..., str]


@pytest.fixture
def train(project: Path, make_params: Callable[..., Params]) -> Train:
    """Return a function that records a training with these scores; it returns the SHA-256."""

    def record(*scores: float, seed: int, digest: str = DATA, keep: str = "best") -> str:
        torch.manual_seed(seed)
        space, model = get_space("lab"), make_params().lab.model
        generator = build_generator(space, model, 32)
        initialise(generator, 0.3)
        folder, token = project / "trained" / str(seed), uuid.uuid4().hex
        folder.mkdir(parents=True)
        save_model(folder, generator, space, model, 32)
        sha256 = files.sha256(folder / WEIGHTS)
        place = project / "resume" / token
        place.mkdir(parents=True)
        data = DatasetInfo("lab", 32, 2, {"train": 8, "val": 2, "test": 2}, 0, digest)
        description = RunDescription(
            "train_lab", "lab", {"train.keep": keep}, data, folder=place, token=token
        )
        with open_recorder(description) as recorder:
            for epoch, score in enumerate(scores, start=1):
                recorder.log_validation(epoch, {"score": score})
            recorder.log_model(folder, sha256)
        return sha256

    return record


def champion() -> Any:
    return MlflowClient().get_model_version_by_alias("colorgan-lab", "champion")


def test_the_best_score_on_the_same_data_wins(train: Train) -> None:
    """Another set of photos is no match, and of a run that keeps the last the last counts."""
    train(0.1, seed=1, digest=OTHER_DATA)
    train(0.2, 0.9, seed=2, keep="last")
    best = train(1.5, 0.6, 1.2, seed=3)
    train(0.7, seed=4)
    promotion = promote("lab")
    assert (promotion.name, promotion.version, promotion.moved) == ("colorgan-lab", "1", True)
    assert promotion.because.startswith("score 0.6000, the best of 3 runs on the data aaaaaaaaaaaa")
    version = champion()
    assert version.tags["colorgan.generator_sha256"] == best
    assert version.tags["promoted.because"] == promotion.because
    assert version.tags["data.digest"] == DATA


def test_a_second_time_changes_nothing_and_a_better_run_moves_it(train: Train) -> None:
    train(0.8, seed=1)
    first, again = promote("lab"), promote("lab")
    assert (again.version, again.moved) == (first.version, False)
    assert len(MlflowClient().search_model_versions("name = 'colorgan-lab'")) == 1
    better = train(0.5, seed=2)
    moved = promote("lab")
    assert (moved.version, moved.moved) == ("2", True)
    assert champion().tags["colorgan.generator_sha256"] == better


def test_the_data_are_those_of_the_project_where_it_has_any(
    train: Train, write_arrays: Callable[..., Path]
) -> None:
    write_arrays("lab")
    there = train(0.9, seed=1, digest="0" * 64)
    train(0.1, seed=2)
    promote("lab")
    assert champion().tags["colorgan.generator_sha256"] == there


@pytest.mark.parametrize("scores", [None, ()])
def test_without_a_run_that_has_a_score_it_says_what_makes_one(
    train: Train, scores: tuple[float, ...] | None
) -> None:
    if scores is not None:
        train(*scores, seed=1)
    with pytest.raises(ColorganError, match="`dvc repro"):
        promote("lab")


def test_the_command_says_why(train: Train, colorgan: Callable[..., Any]) -> None:
    train(0.8, seed=1)
    said = colorgan("promote", "lab")
    assert said.code == 0
    assert "colorgan-lab version 1 is now the champion: score 0.8000" in said.out
    assert "is already the champion" in colorgan("promote", "lab").out
    said = colorgan("promote", "sepia")
    assert (said.code, "it should be rgb or lab" in said.err) == (1, True)
    said = colorgan("promote")
    assert (said.code, "train_rgb" in said.err) == (1, True)


def test_the_champion_is_a_model_to_colour_with_and_no_pickle(train: Train, project: Path) -> None:
    train(0.8, seed=1)
    promote("lab")
    network = load_network("models:/colorgan-lab@champion", "cpu")
    wanted = load_network(project / "trained" / "1", "cpu")
    input = np.random.default_rng(0).uniform(-1, 1, (1, 1, 32, 32)).astype(np.float32)
    assert (network.predict(input) == wanted.predict(input)).all()
    names = {path.name for path in project.rglob("mlflow_model/**/*")}
    assert "served_model.py" in names
    assert not any(name.endswith((".pkl", ".pickle", ".pt", ".pth")) for name in names)
    [requirements] = project.rglob("mlflow_model/requirements.txt")
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements.read_text()
    with pytest.raises(ColorganError, match="colorgan-rgb"):
        load_network("models:/colorgan-rgb@champion", "cpu")


@pytest.fixture
def address(train: Train, project: Path) -> Iterator[str]:
    """`mlflow models serve`, as a person starts it."""
    train(0.8, seed=1)
    promote("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mlflow", "models", "serve", "-m", "models:/colorgan-lab@champion"]
    # Not the checkout's code: that which lies with the model.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, "-m", *command, "--env-manager", "local", "--port", str(port)],
        cwd=project, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2)
                break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < end, "the server did not answer"
                assert server.poll() is None, "the server has ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mlflow") is None, reason="mlflow is not on PATH")
def test_mlflow_serves_the_champion(address: str) -> None:
    """A photo with plain HTTP, beside garbage that does not stop it."""
    buffer = io.BytesIO()
    ramp = np.linspace(0, 255, 48 * 40).reshape(40, 48).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, "TIFF")
    photo = base64.b64encode(buffer.getvalue()).decode()
    garbage = base64.b64encode(b"garbage").decode()
    answers = []
    for saturation in (1.0, 0.0):
        body = {
            "dataframe_split": {"columns": ["image"], "data": [[photo], [garbage]]},
            "params": {"saturation": saturation},
        }
        request = urllib.request.Request(
            f"{address}/invocations", json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            rows = json.load(answer)["predictions"]
        assert rows[0]["error"] == ""
        assert "unreadable" in rows[1]["error"]
        assert rows[1]["png"] == ""
        image = Image.open(io.BytesIO(base64.b64decode(rows[0]["png"])))
        assert (image.format, image.size, image.mode) == ("PNG", (48, 40), "RGB")
        answers.append(np.ptp(np.asarray(image).astype(int), axis=-1).mean())
    assert answers[0] > 5
    assert answers[1] < 1
