"""The MLflow UI on the project's runs, in a real headless Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from pipeline.conftest import Project
from servers import answers, free_port, running

pytestmark = pytest.mark.slow

SECONDS_TO_WAIT = 90


@pytest.fixture(scope="module")
def address(browser: webdriver.Chrome, project: Project) -> Iterator[str]:
    """Serve the UI as a person would, with `colorgan ui`."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = ["python", "-m", "colorgan", "ui", "--port", str(port)]
    with running(command, f"{address}/health", alone=True, cwd=project.folder, env=project.env):
        yield address
    assert not answers(f"{address}/health")


def see(browser: webdriver.Chrome, *texts: str) -> None:
    """Wait until all texts are on the page."""
    for text in texts:
        WebDriverWait(browser, SECONDS_TO_WAIT).until(
            lambda driver, text=text: text in driver.find_element(By.TAG_NAME, "body").text,
            f"not on the page: {text}",
        )


def test_runs_are_listed_by_experiment_and_stage(browser: webdriver.Chrome, address: str) -> None:
    browser.set_window_size(1500, 1800)
    browser.get(f"{address}/#/experiments/1/runs")
    see(browser, "workspace / train_rgb", "workspace / train_lab", "data/processed/lab")


def test_a_run_shows_loss_curves_and_stepped_images(browser, address, project, tmp_path) -> None:
    client, run = project.client(), project.runs()["workspace / train_lab"]
    browser.set_window_size(1500, 1800)
    browser.get(f"{address}/#/experiments/1/runs/{run.info.run_id}/model-metrics")
    see(browser, "loss_D", "loss_G_GAN", "loss_G_L1", "psnr", "val/grid")
    WebDriverWait(browser, SECONDS_TO_WAIT).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, ".js-plotly-plot .scatterlayer path"),
        "no curve is drawn",
    )
    images = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
    steps = {found[1] for path in images if (found := re.search(r"grid\Wstep\W(\d+)", path))}
    assert len(steps) >= 2, f"the grids have no steps of their own: {images}"
    WebDriverWait(browser, SECONDS_TO_WAIT).until(
        lambda driver: any(
            int(picture.get_property("naturalWidth") or 0) > 100
            for picture in driver.find_elements(By.TAG_NAME, "img")
            if not (picture.get_attribute("src") or "").startswith("data:")
        ),
        "no sample grid is shown",
    )
    browser.save_screenshot(str(tmp_path / "run.png"))
