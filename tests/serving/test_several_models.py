"""One photo by one model after the other: bundled, trained here, and of an MLflow run."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browsing import PORTRAIT, ROOT, open_page, served, settled, shown_pixels
from selenium import webdriver
from selenium.webdriver.common.by import By

from colorgan import paths
from colorgan.config import SPACES, Params
from colorgan.tracking.mlflow_read import TrainingRuns
from trained import record_training, save_tiny

pytestmark = pytest.mark.slow

EXPERIMENT = "a_long_name_of_an_experiment_as_the_sweeps_of_some_people_make_them_up"
LABELS = (By.CSS_SELECTOR, "#models label")


@pytest.fixture(scope="module")
def run(lasting_project: Path, make_params: Callable[..., Params]) -> str:
    """The id of a run whose weights lie in MLflow alone."""
    trained = save_tiny(lasting_project / "elsewhere", "lab", make_params(), 3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DVC_EXP_NAME", EXPERIMENT)
        record_training(trained, "lab")
    shutil.rmtree(trained)
    return TrainingRuns().named(EXPERIMENT, "train_lab").id


@pytest.fixture(scope="module")
def address(lasting_project: Path, run: str, make_params: Callable[..., Params]) -> Iterator[str]:
    """The page of a project with a trained model of each space, and a run."""
    for bundled in ("models/pretrained", "data/sample"):
        place = lasting_project / bundled
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(ROOT / bundled)
    for seed, space in enumerate(SPACES):
        save_tiny(paths.model(space), space, make_params(), seed)
    with served(lasting_project) as address:
        yield address


def choose(browser: webdriver.Chrome, model: str) -> None:
    menu = browser.find_element(By.TAG_NAME, "details")
    if menu.get_attribute("open") is None:
        menu.find_element(By.TAG_NAME, "summary").click()
    menu.find_element(By.CSS_SELECTOR, f"input[value='{model}']").click()


def test_four_models_one_after_the_other(
    browser: webdriver.Chrome, address: str, run: str, photo: Path, downloads: Path
) -> None:
    wait = open_page(browser, address, PORTRAIT)
    browser.find_element(By.ID, "file").send_keys(str(photo))
    wait.until(lambda b: settled(b, 1))
    labels = [label.get_attribute("textContent") for label in browser.find_elements(*LABELS)]
    assert labels[:3] == ["pretrained", "RGB, trained here", "LAB, trained here"]
    assert f"{EXPERIMENT} / train_lab · {run[:8]}" in labels[3:]
    pictures = [shown_pixels(browser)]
    for model in (*SPACES, f"runs:/{run}"):
        choose(browser, model)
        wait.until(lambda b: settled(b, 1))
        pictures.append(shown_pixels(browser))
    for one, other in itertools.combinations(pictures, 2):
        assert one.shape == other.shape
        assert np.abs(one - other).mean() > 3
    browser.find_elements(By.TAG_NAME, "summary")[1].click()
    browser.find_element(By.ID, "download").click()
    file = downloads / f"old photo_colored_{run[:8]}.png"
    wait.until(lambda b: file.is_file())
