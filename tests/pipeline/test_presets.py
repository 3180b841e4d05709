"""`dvc exp run $(python -m colorgan preset NAME)`: every source up to a model, on few photos.

What comes after is the same for all sources; with two of them it runs too.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from colorgan.color import UInt8Array
from kaggle_server import KaggleServer, layout, zipped
from loopback import Loopback, Page
from pipeline.conftest import ROOT, Project, copy_project

pytestmark = pytest.mark.slow

PHOTOS = ROOT.parent / "shared" / "photos"
# A preset sets sizes for a GPU and days; these keep its sources and its resolution.
TINY = {
    "model.ngf": "4",
    "model.ndf": "4",
    "train.epochs": "1",
    "train.decay_epochs": "0",
    "train.batch_size": "4",
    "train.amp": "auto",
    "logging.log_every": "1",
    "render.rows": "2",
    "render.extremes": "1",
}


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which nothing has run yet."""
    return copy_project(tmp_path_factory.mktemp("sources"))


def squares(n: int, side: int) -> UInt8Array:
    """Return the middle of n bundled photos, `(n, side, side, 3)`."""
    cut = []
    for path in sorted((ROOT / "data" / "sample").glob("*/*.webp"))[:n]:
        with Image.open(path) as image:
            cut.append(np.asarray(ImageOps.fit(image.convert("RGB"), (side, side))))
    return np.stack(cut)


def stl10_archive() -> bytes:
    """Return an archive in STL-10's format, of 16 + 8 + 16 photos."""
    parts = np.split(squares(40, 96).transpose(0, 3, 2, 1), (16, 24))
    files = {
        "train_X.bin": parts[0].tobytes(),
        "train_y.bin": bytes(i % 3 + 1 for i in range(16)),
        "test_X.bin": parts[1].tobytes(),
        "test_y.bin": bytes(i % 3 + 1 for i in range(8)),
        "unlabeled_X.bin": parts[2].tobytes(),
        "class_names.txt": b"airplane\nbird\ncar\n",
        "fold_indices.txt": b"0 1\n",
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"stl10_binary/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


@pytest.fixture
def online(own_project: Project, tmp_path: Path) -> Iterator[tuple[Project, Loopback]]:
    """The project with both download sites on the loopback."""
    archive = stl10_archive()
    with Loopback(seconds=400) as stl10, KaggleServer(zipped(layout(squares(30, 224)))) as kaggle:
        stl10.pages["/stl10_binary.tar.gz"] = Page(archive)
        env = {
            **own_project.env,
            **kaggle.environment,
            "COLORGAN_CACHE": str(tmp_path / "cache"),
            "COLORGAN_STL10_URL": stl10.url("/stl10_binary.tar.gz"),
            "COLORGAN_STL10_MD5": hashlib.md5(archive).hexdigest(),
            "KAGGLEHUB_CACHE": str(tmp_path / "kagglehub"),
            "HOME": str(tmp_path),
            # Kaggle's client is led by a proxy, which the other server does without.
            "no_proxy": "127.0.0.1",
            "KAGGLE_CONFIG_DIR": str(tmp_path),
        }
        env = {name: value for name, value in env.items() if value}
        yield replace(own_project, env=env), stl10


def run_preset(project: Project, *preset: str, **more: str) -> dict[str, object]:
    """Run the preset as the docs say, with small networks; return metrics.json."""
    output = run_stages(project, *preset, **more)
    assert project.stages_run(output)[-2:] == ["evaluate", "render_grids"]
    assert project.run("dvc", "status").strip() == "Data and pipelines are up to date."
    metrics = json.loads((project.folder / "reports" / "metrics.json").read_text())
    go_back(project)
    return dict(metrics)


def run_to_a_model(project: Project, *preset: str, **more: str) -> None:
    """Run the preset for LAB alone, up to its model."""
    output = run_stages(project, *preset, last=("train_lab",), **more)
    assert project.stages_run(output) == ["download@lab", "preprocess@lab", "train_lab"]
    assert (project.folder / "models" / "lab" / "generator.safetensors").is_file()
    go_back(project)


def run_stages(project: Project, *preset: str, last: tuple[str, ...] = (), **more: str) -> str:
    """Run the preset with small networks, up to some stages; return what was printed."""
    options = project.run("python", "-m", "colorgan", "preset", *preset).split()
    for path, value in (TINY | more).items():
        options += ["-S", f"{path}={value}"]
    return project.run("dvc", "exp", "run", *options, *last)


def go_back(project: Project) -> None:
    project.run("git", "checkout", "--quiet", "--force", "main")
    project.run("git", "reset", "--quiet", "--hard")


def index_of(project: Project, space: str) -> pd.DataFrame:
    path = project.folder / "data" / "processed" / space / "index.csv"
    return pd.read_csv(path, keep_default_na=False)


def test_stl10(online: tuple[Project, Loopback]) -> None:
    project, server = online
    metrics = run_preset(project, "stl10")
    assert metrics.keys() == {"rgb", "lab"}
    for space in ("rgb", "lab"):
        index = index_of(project, space)
        assert dict(index["split"].value_counts())["test"] == 8, "STL-10's own test part"
        assert set(index["label"]) == {"", "airplane", "bird", "car"}
        assert set(zip(index["width"], index["height"], strict=True)) == {(96, 96)}
    assert len([asked for asked in server.log if asked.method == "GET"]) == 1, (
        "fetched once for both"
    )


def test_paper(online: tuple[Project, Loopback]) -> None:
    project, _ = online
    metrics = run_preset(project, "paper")
    assert metrics.keys() == {"rgb", "lab"}
    assert set(index_of(project, "rgb")["source"]) == {"stl10"}
    lab = index_of(project, "lab")
    assert set(lab["source"]) == {"kaggle"}
    assert len(lab) == 30
    target = np.load(project.folder / "data/processed/lab/train/target.npy", mmap_mode="r")
    assert target.shape[1:] == (256, 256, 2)


def test_photos_in_a_folder(own_project: Project) -> None:
    run_to_a_model(own_project, "photos", "--path", "data/sample", **{"lab.limit": "40"})
    assert set(index_of(own_project, "lab")["source"]) == {"folder"}
    assert "mammal" in set(index_of(own_project, "lab")["label"])


@pytest.mark.skipif(
    not PHOTOS.is_dir(), reason="the training photos beside the checkout are absent"
)
def test_photos_in_parquet_files(own_project: Project) -> None:
    run_to_a_model(own_project, "photos", "--path", str(PHOTOS), **{"lab.limit": "60"})
    index = index_of(own_project, "lab")
    assert set(index["source"]) == {"parquet"}
    assert len(index) == 60
    params = (own_project.folder / "params.yaml").read_text(encoding="utf-8")
    assert "path: data/sample" in params, "an experiment's values are gone from the workspace"
