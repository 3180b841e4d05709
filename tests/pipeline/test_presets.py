"""The presets: each source up to the arrays, every preset through all stages, and one by DVC."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from ruamel.yaml import YAML

from colorgan import presets
from colorgan.color import UInt8Array
from kaggle_server import KaggleServer, layout, zipped
from loopback import Loopback, Page
from pipeline.conftest import ROOT, new_project
from stl10_archive import CLASSES, packed, stl10_files

SAMPLE = ROOT / "data" / "sample"
# A preset sets sizes for a GPU and days; these keep its sources and its recipe.
TINY = {
    "model.ngf": 4,
    "model.ndf": 4,
    "train.epochs": 1,
    "train.decay_start": 1.0,
    "train.gan_start": 0.0,
    "train.batch_size": 4,
    "train.amp": "auto",
    "render.rows": 2,
    "render.extremes": 1,
}


def squares(n: int, side: int) -> UInt8Array:
    """Return the middle of n bundled photos, `(n, side, side, 3)`."""
    cut = []
    for path in sorted(SAMPLE.glob("*/*.webp"))[:n]:
        with Image.open(path) as image:
            cut.append(np.asarray(ImageOps.fit(image.convert("RGB"), (side, side))))
    return np.stack(cut)


@pytest.fixture
def stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """Both download sites on the loopback; the server of STL-10."""
    archive = packed(stl10_files(squares(40, 96), {"train": 16, "test": 8, "unlabeled": 16}))
    with Loopback() as stl10, KaggleServer(zipped(layout(squares(30, 224)))) as kaggle:
        stl10.pages["/stl10_binary.tar.gz"] = Page(archive)
        kaggle.lead_here(monkeypatch, tmp_path)
        env = {
            "COLORGAN_CACHE": str(tmp_path / "cache"),
            "COLORGAN_STL10_URL": stl10.url("/stl10_binary.tar.gz"),
            "COLORGAN_STL10_MD5": hashlib.md5(archive).hexdigest(),
            # Kaggle's client is led by a proxy, which the other server does without.
            "no_proxy": "127.0.0.1",
        }
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        yield stl10


@pytest.fixture
def run(tmp_path, monkeypatch, colorgan) -> Callable[..., None]:
    """Return a function that runs a command in this process, in a folder with few photos."""
    folder = tmp_path / "project"
    photos = pd.read_csv(SAMPLE / "attribution.csv")[::6]
    for name in photos["file"]:
        place = folder / "data" / "sample" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / name, place)
    photos.to_csv(folder / "data" / "sample" / "attribution.csv", index=False)
    (folder / "models").mkdir()
    (folder / "models" / "pretrained").symlink_to(ROOT / "models" / "pretrained")
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder))
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> None:
        said = colorgan(*arguments)
        assert said.code == 0, said.err

    return run


@pytest.mark.parametrize(
    ("preset", "space", "source", "side"),
    [
        ("stl10", "rgb", "stl10", 96),
        ("paper", "lab", "kaggle", 256),
        ("photos --path data/sample", "lab", "folder", 192),
        ("photos --path photos.parquet", "lab", "parquet", 192),
    ],
)
def test_a_source_up_to_the_arrays(preset, space, source, side, run, stl10) -> None:
    photos = [path.read_bytes() for path in sorted(SAMPLE.glob("*/*.webp"))[:12]]
    columns = {"webp": photos, "label": ["sea"] * 12, "split": ["train", "val", "test"] * 4}
    pq.write_table(pa.table(columns), "photos.parquet")
    run("preset", *preset.split(), "--write")
    run("download", space)
    run("preprocess", space)
    index = pd.read_csv(f"data/processed/{space}/index.csv", keep_default_na=False)
    assert set(index["source"]) == {source}
    for split, count in index["split"].value_counts().items():
        array = np.load(f"data/processed/{space}/{split}/target.npy")
        assert array.shape[:3] == (count, side, side)
    if source == "stl10":
        assert dict(index["split"].value_counts())["test"] == 8, "STL-10's own test part"
        assert set(index["label"]) == {"", *CLASSES}
    if source == "folder":
        assert "mammal" in set(index["label"])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["encoder", "scratch", "stl10"])
def test_a_preset_through_all_stages(preset, run, stl10) -> None:
    content = presets.content(preset)
    for name, value in TINY.items():
        section, key = name.split(".")
        content[section][key] = value
    YAML().dump(content, Path("params.yaml"))
    for space in ("rgb", "lab"):
        run("download", space)
        run("preprocess", space)
        run("train", space)
    run("evaluate")
    run("render-grids")
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert metrics.keys() == {"rgb", "lab"}
    assert Path("reports/report.html").is_file()
    if preset == "stl10":
        asked = [asked for asked in stl10.log if asked.method == "GET"]
        assert len(asked) == 1, "fetched once for both spaces"


@pytest.mark.slow
def test_paper_by_dvc(stl10: Loopback, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    small = " ".join(f"-S {name}={value}" for name, value in TINY.items())
    output = project.shell("dvc exp run $(python -m colorgan preset paper) " + small)
    assert project.stages_run(output)[-2:] == ["evaluate", "render_grids"]
    assert project.run("dvc", "status").strip() == "Data and pipelines are up to date."
    metrics = json.loads((project.folder / "reports" / "metrics.json").read_text())
    assert metrics.keys() == {"rgb", "lab"}
