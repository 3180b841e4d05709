"""One photo by several models side by side: bundled, trained here, and of an MLflow run."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browsing import PHONE, PORTRAIT, SECONDS_TO_WAIT, loaded, pixels_of, results, served
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from colorgan import paths
from colorgan.config import SPACES, Params
from colorgan.model import WEIGHTS
from colorgan.tracking.mlflow_read import TrainingRuns
from trained import record_training, save_tiny

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXPERIMENT = "a_long_name_of_an_experiment_as_the_sweeps_of_some_people_make_them_up"
LABELS = ["pretrained", "RGB, trained here", "LAB, trained here"]


@pytest.fixture(scope="module")
def runs(lasting_project: Path, make_params: Callable[..., Params]) -> dict[str, str]:
    """Runs whose weights lie in MLflow alone: ids by name. Those of one of them are gone."""
    found = {}
    for seed, name in enumerate(("gone", EXPERIMENT), start=3):
        trained = save_tiny(lasting_project / "elsewhere" / name, "lab", make_params(), seed)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("DVC_EXP_NAME", name)
            record_training(trained, "lab")
        shutil.rmtree(trained)
        found[name] = TrainingRuns().named(name, "train_lab").id
    [weights] = lasting_project.rglob(f"{found['gone']}/artifacts/model/{WEIGHTS}")
    weights.unlink()
    return found


@pytest.fixture(scope="module")
def address(
    lasting_project: Path, runs: dict[str, str], make_params: Callable[..., Params]
) -> Iterator[str]:
    """The page of a project with a trained model of each space, and two runs."""
    for bundled in ("models/pretrained", "data/sample"):
        place = lasting_project / bundled
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(ROOT / bundled)
    for seed, space in enumerate(SPACES):
        save_tiny(paths.model(space), space, make_params(), seed)
    with served(lasting_project) as address:
        yield address


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    with Image.open(ROOT / "data/sample/landscape/machu_picchu.webp") as image:
        image.convert("L").save(tmp_path / "old photo.png")
    return tmp_path / "old photo.png"


def open_page(browser: webdriver.Chrome, address: str) -> WebDriverWait:
    browser.set_window_size(*PORTRAIT)
    browser.get(address)
    wait = WebDriverWait(browser, SECONDS_TO_WAIT)
    wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#models input")) == 5)
    return wait


def choose(browser: webdriver.Chrome, *models: str) -> None:
    for model in models:
        browser.find_element(By.CSS_SELECTOR, f"#models input[value='{model}']").click()


def test_four_models_side_by_side(
    browser: webdriver.Chrome, address: str, runs: dict[str, str], photo: Path
) -> None:
    wait = open_page(browser, address)
    browser.find_element(By.ID, "file").send_keys(str(photo))
    run = runs[EXPERIMENT]
    choose(browser, *SPACES, f"runs:/{run}")
    wait.until(lambda b: loaded(b, 4))
    labels = [*LABELS, f"{EXPERIMENT} / train_lab · {run[:8]}"]
    with Image.open(photo) as image:
        size = f"{image.width} × {image.height}"
    endings = ("", "_rgb", "_lab", f"_{run[:8]}")
    for label, ending, figure in zip(labels, endings, results(browser), strict=True):
        assert figure.text.startswith(f"{label} · {size} · ")
        link = figure.find_element(By.CLASS_NAME, "download")
        assert link.get_attribute("download") == f"old photo_colored{ending}.png"
    pictures = [pixels_of(browser, figure) for figure in results(browser)]
    for one, other in itertools.combinations(pictures, 2):
        assert one.shape == other.shape
        assert np.abs(one - other).mean() > 3
    assert len({figure.rect["x"] for figure in results(browser)}) == 2
    browser.set_window_size(*PHONE)
    assert len({figure.rect["x"] for figure in results(browser)}) == 1


def test_a_model_that_cannot_be_loaded_is_named_beside_the_results_of_the_others(
    browser: webdriver.Chrome, address: str, runs: dict[str, str], photo: Path
) -> None:
    wait = open_page(browser, address)
    choose(browser, "lab", f"runs:/{runs['gone']}")
    browser.find_element(By.ID, "file").send_keys(str(photo))
    wait.until(lambda b: loaded(b, 2))
    state = browser.find_element(By.CSS_SELECTOR, "article .state")
    assert state.text.startswith(f"gone / train_lab · {runs['gone'][:8]}: ")
    assert "has no model in MLflow" in state.text
    # It is gone with the model.
    choose(browser, f"runs:/{runs['gone']}")
    wait.until(lambda b: state.get_attribute("textContent") == "")
    assert loaded(browser, 2)
