"""The page of `colorgan app`: its answers over HTTP, and the whole of it in a real Chromium."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import PHONE, PORTRAIT, SECONDS_TO_WAIT, ask, loaded, results, served
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The page in the project, with the bundled model."""
    with served(ROOT, "--max-megabytes", "0.5", "--max-megapixels", "2") as address:
        yield address


def encoded(format: str, side: int = 60, **options: Any) -> bytes:
    buffer = io.BytesIO()
    ramp = np.linspace(0, 255, side * side).reshape(side, side).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_a_photo_comes_back_in_its_format(address: str, format: str) -> None:
    code, _, body = ask(f"{address}/api/colorize?name=my+boat.x", encoded(format))
    told = json.loads(body)
    assert (code, told["width"], told["height"]) == (200, 60, 60)
    code, headers, content = ask(f"{address}/api/results/{told['id']}/file")
    assert code == 200
    assert told["name"].startswith("my boat_colored.")
    assert headers["Content-Type"] == f"image/{format.lower()}"
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size, image.mode) == (format, (60, 60), "RGB")
    for kind in ("before", "after"):
        _, headers, content = ask(f"{address}/api/results/{told['id']}/{kind}")
        assert headers["Content-Type"] == "image/jpeg"
        assert Image.open(io.BytesIO(content)).size == (60, 60)


@pytest.mark.parametrize(
    ("query", "body", "code", "said"),
    [
        ("", b"", 415, "the file is empty"),
        ("", b"garbage" * 999, 415, "not a JPEG"),
        ("", b"x" * 600_000, 413, "larger than 0.5 MB"),
        ("", encoded("PNG", 1500), 415, "too large: over 2000000 pixels"),
        ("?model=models/pretrained", encoded("PNG"), 400, "there is no model"),
        ("?saturation=9", encoded("PNG"), 400, "saturation should be a number from 0 to 4"),
    ],
)
def test_what_is_wrong_is_said_and_the_page_goes_on(
    address: str, query: str, body: bytes, code: int, said: str
) -> None:
    found, _, answer = ask(f"{address}/api/colorize{query}", body)
    assert (found, said in json.loads(answer)["error"]) == (code, True), answer
    assert ask(f"{address}/api/colorize", encoded("PNG"))[0] == 200


def test_a_hundred_megabytes_are_refused_before_they_are_read(address: str) -> None:
    """The sender may notice by a closed connection, or by the answer."""
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        assert ask(f"{address}/api/colorize", bytes(100_000_000))[0] == 413
    assert ask(f"{address}/api/colorize", encoded("PNG"))[0] == 200


def test_it_answers_to_its_own_name_and_asks_for_nothing_outside(address: str) -> None:
    code, headers, _ = ask(f"{address}/")
    assert code == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert ask(f"{address}/", Host="rebound.example")[0] == 400
    for path in ("/server.py", "/../pyproject.toml", "/api/examples/x", "/api/results/x/file"):
        assert ask(f"{address}{path}")[0] == 404
    for file in (ROOT / "src/colorgan/serving").glob("page.*"):
        assert "http" not in file.read_text(encoding="utf-8")


def test_a_port_that_is_taken_is_named(address: str) -> None:
    port = address.rpartition(":")[2]
    said = subprocess.run(
        [sys.executable, "-m", "colorgan", "app", "--port", port],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 1
    assert f"--port {port}: Address already in use" in said.stderr
    assert "Traceback" not in said.stderr


class TestInABrowser:
    """Upload, wait, compare, download, and the file checked."""

    pytestmark = pytest.mark.slow

    @pytest.fixture
    def photo(self, tmp_path: Path) -> Path:
        with Image.open(next((ROOT / "data/sample").glob("landscape/*.webp"))) as image:
            self.size = image.size
            image.convert("L").save(tmp_path / "old photo.png")
        return tmp_path / "old photo.png"

    def test_from_upload_to_download(
        self, browser: webdriver.Chrome, address: str, photo: Path, downloads: Path
    ) -> None:
        browser.set_window_size(*PORTRAIT)
        browser.get(address)
        wait = WebDriverWait(browser, SECONDS_TO_WAIT)
        wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#examples img")) >= 10)
        assert not results(browser)
        browser.find_element(By.ID, "file").send_keys(str(photo))
        wait.until(lambda b: loaded(b, 1))
        [figure] = results(browser)
        width, height = self.size
        assert f"pretrained · {width} × {height}" in figure.text
        # The slider moves the line, by keys as by hand.
        slider = figure.find_element(By.CSS_SELECTOR, "input[type=range]")
        slider.send_keys(Keys.END)
        pair = figure.find_element(By.CLASS_NAME, "pair")
        assert "--at: 100%" in (pair.get_attribute("style") or "")
        figure.find_element(By.CLASS_NAME, "download").click()
        file = downloads / "old photo_colored.png"
        wait.until(lambda b: file.is_file())
        with Image.open(photo) as before, Image.open(file) as after:
            assert (after.format, after.size, after.mode) == ("PNG", before.size, "RGB")
            pixels = np.asarray(after).astype(int)
            assert np.ptp(pixels, axis=-1).mean() > 4
            difference = np.asarray(after.convert("L")).astype(int) - np.asarray(before)
            assert np.abs(difference).mean() < 8
        # Weaker colours, by the other slider.
        saturation = browser.find_element(By.ID, "saturation")
        saturation.send_keys(Keys.HOME)
        wait.until(lambda b: results(b)[0] != figure and loaded(b, 1))
        link = browser.find_element(By.CLASS_NAME, "download").get_attribute("href")
        assert link is not None
        gray = np.asarray(Image.open(io.BytesIO(ask(link)[2]))).astype(int)
        assert np.ptp(gray, axis=-1).max() <= 1

    def test_an_example_and_a_phone(self, browser: webdriver.Chrome, address: str) -> None:
        browser.set_window_size(*PHONE)
        browser.get(address)
        wait = WebDriverWait(browser, SECONDS_TO_WAIT)
        wait.until(lambda b: len(b.find_elements(By.CSS_SELECTOR, "#examples button")) >= 10)
        button = browser.find_elements(By.CSS_SELECTOR, "#examples button")[3]
        browser.execute_script("arguments[0].click()", button)
        wait.until(lambda b: loaded(b, 1))
        wide = "return document.documentElement.scrollWidth - window.innerWidth"
        assert browser.execute_script(wide) <= 0
        assert results(browser)[0].rect["width"] > 300

    def test_a_file_that_is_no_photo_is_named(
        self, browser: webdriver.Chrome, address: str, tmp_path: Path
    ) -> None:
        (tmp_path / "letter.png").write_text("Dear Sir")
        browser.get(address)
        browser.find_element(By.ID, "file").send_keys(str(tmp_path / "letter.png"))
        message = browser.find_element(By.ID, "message")
        WebDriverWait(browser, SECONDS_TO_WAIT).until(lambda b: "unreadable" in message.text)
        assert message.text.startswith("letter.png: ")
        assert not results(browser)

    def test_it_has_asked_nobody_else_and_had_no_error(
        self, browser: webdriver.Chrome, address: str
    ) -> None:
        """Over all that was done in the browser above."""
        asked = set()
        for entry in browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.add(message["params"]["request"]["url"])
        assert asked
        assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked
        wrong = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
        # The letter that is no photo was answered with 415.
        assert all("415" in entry["message"] for entry in wrong), wrong
