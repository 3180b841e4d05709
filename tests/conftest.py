"""A tiny project in a temporary folder: parameters, photos, arrays, and the command line."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.config import Params, check_params
from tiny_project import dump_params, random_arrays, tiny_params

ROOT = Path(__file__).parents[1]

# For this process and all that tests start. MLflow reads its settings when it is imported. Two
# processes with two threads each, on two cores, wait for each other ten times as long as they work.
os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}
torch.set_num_threads(1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project that has params.yaml and nothing else."""
    _work_in(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def lasting_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Such a project for all tests of a file: for what is slow to start in it."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as monkeypatch:
        _work_in(folder, monkeypatch)
        yield folder


def _work_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    # The checkout around the temporary folder, should there be one, is not the project's.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder))
    monkeypatch.chdir(folder)
    dump_params({})


@pytest.fixture(scope="session")
def make_params() -> Callable[..., Params]:
    """Return a function that makes tiny parameters, with changes by dotted path."""
    return lambda changes={}: check_params(tiny_params(changes))


@pytest.fixture
def write_params(project: Path) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that writes tiny parameters with changes into params.yaml, unchecked."""
    return dump_params


@pytest.fixture
def write_photos(project: Path) -> Callable[..., list[str]]:
    """Return a function that makes data/sample: so many photos of a label, and attribution.csv."""

    def write(size: tuple[int, int] = (40, 36), **labels: int) -> list[str]:
        rng = np.random.default_rng(0)
        names = [f"{label}/{i}.webp" for label, count in labels.items() for i in range(count)]
        for name in names:
            path = paths.DATA / "sample" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(noise).save(path, lossless=True)
        rows = [[name, "a title", "me", "CC0", "here", name.split("/")[0]] for name in names]
        columns = ["file", "title", "author", "licence", "source", "label"]
        table = pd.DataFrame(rows, columns=columns)
        table.to_csv(paths.DATA / "sample" / "attribution.csv", index=False)
        return names

    return write


@pytest.fixture
def write_arrays(project: Path) -> Callable[..., Path]:
    """Return a function that writes random arrays of a space, as preprocess would."""
    return lambda space, **how: random_arrays(paths.processed(space), space, **how)


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store that has its tables and no run: to make it takes seconds."""
    from colorgan.tracking.mlflow_log import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def real_photos() -> UInt8Array:
    """The middle 64x64 pixels of every tenth bundled photo, `(N, 64, 64, 3)`."""
    files = sorted((ROOT / "data" / "sample").glob("*/*.webp"))[::10]
    assert len(files) > 10
    photos = []
    for file in files:
        with Image.open(file) as image:
            left, top = (image.width - 64) // 2, (image.height - 64) // 2
            photos.append(np.asarray(image.convert("RGB").crop((left, top, left + 64, top + 64))))
    return np.stack(photos)


@dataclass(frozen=True)
class Said:
    """What a command ended with and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def colorgan(monkeypatch, capsys) -> Callable[..., Said]:
    """Return a function that runs a command of the command line, in this process."""

    def run(*arguments: str) -> Said:
        from colorgan import cli

        monkeypatch.setattr(sys, "argv", ["colorgan", *arguments])
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        handler = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        code: int | str | None = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def _downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture
def downloads(_downloads: Path) -> Path:
    """The folder into which the browser downloads, empty."""
    for file in _downloads.iterdir():
        file.unlink()
    return _downloads


@pytest.fixture(scope="module")
def browser(_chromium: Any) -> Any:
    """A headless Chromium, which all tests share; its logs are those of the file alone."""
    _chromium.get("about:blank")
    for kind in ("browser", "performance"):
        _chromium.get_log(kind)
    return _chromium


@pytest.fixture(scope="session")
def _chromium(_downloads: Path) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no browser: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update",
                     "--disable-dev-shm-usage", "--disable-sync"):  # fmt: skip
        options.add_argument(argument)
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(_downloads), "download.prompt_for_download": 0}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver))
    yield driver
    driver.quit()
