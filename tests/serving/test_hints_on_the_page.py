"""Colour hints on the page of `colorgan app`, in a real Chromium, with the bundled model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import (
    PHONE,
    PORTRAIT,
    ROOT,
    choose_done,
    drop,
    give_colour,
    message,
    open_page,
    press,
    served,
    settled,
    shown_pixels,
    thumbs,
)
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from colorgan import color

pytestmark = pytest.mark.slow

GREEN, RED, PINK = "#2e6b3f", "#8b2222", "#a0308c"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served(ROOT) as address:
        yield address


def dots(browser: webdriver.Chrome) -> list[Any]:
    return browser.find_elements(By.CLASS_NAME, "dot")


def ab_at(pixels: Any, x: float, y: float) -> Any:
    """The mean a and b around a place."""
    row, column = int(y * pixels.shape[0]), int(x * pixels.shape[1])
    around = pixels[row - 1 : row + 2, column - 1 : column + 2].astype(np.float32) / 255
    return color.lab_from_rgb(around)[..., 1:].mean((0, 1))


def ab_of(colour: str) -> Any:
    rgb = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)[None].astype(np.float32) / 255
    return color.lab_from_rgb(rgb)[0, 1:]


def is_like(pixels: Any, place: tuple[float, float], colour: str) -> bool:
    """Whether a place has the hue of a colour, and at least half its chroma."""
    found, wanted = ab_at(pixels, *place), ab_of(colour)
    return bool(found @ wanted > 0.5 * wanted @ wanted)


def test_three_hints_one_moved_one_undone_and_the_file_as_of_the_command(
    browser: webdriver.Chrome,
    address: str,
    photo: Path,
    downloads: Path,
    colorgan: Callable[..., Any],
) -> None:
    cloud, slope, mountain, haze = (0.3, 0.08), (0.3, 0.85), (0.6, 0.6), (0.1, 0.45)
    wait = open_page(browser, address, PORTRAIT)
    browser.find_element(By.ID, "file").send_keys(str(photo))
    wait.until(lambda b: settled(b, 1))
    for place, colour in ((cloud, GREEN), (mountain, RED), (haze, PINK)):
        press(browser, place)
        give_colour(browser, colour)
        choose_done(browser)
    wait.until(lambda b: settled(b, 1) and is_like(shown_pixels(b), cloud, GREEN))
    press(browser, cloud, (0.3, 0.4), slope)
    wait.until(lambda b: settled(b, 1) and is_like(shown_pixels(b), slope, GREEN))
    pixels = shown_pixels(browser)
    assert not is_like(pixels, cloud, GREEN)
    assert is_like(pixels, haze, PINK)
    # The move and the pink one are undone, and then done again: in steps.
    stage = browser.find_element(By.ID, "stage")
    stage.send_keys(Keys.CONTROL, "z")
    wait.until(lambda b: settled(b, 1) and is_like(shown_pixels(b), cloud, GREEN))
    browser.find_element(By.ID, "undo").click()
    assert len(dots(browser)) == 2
    browser.find_element(By.ID, "redo").click()
    stage.send_keys(Keys.CONTROL, Keys.SHIFT, "z")
    assert len(dots(browser)) == 3
    dots(browser)[2].send_keys(Keys.DELETE)
    wait.until(lambda b: thumbs(b) == ["old photo.png, 2 hints, coloured"])
    file, hints = downloads / "old photo_colored.png", downloads / "old photo.hints.json"
    for menu, id, saved in ((1, "download", file), (0, "save", hints)):
        browser.find_elements(By.TAG_NAME, "summary")[menu].click()
        browser.find_element(By.ID, id).click()
        wait.until(lambda _, saved=saved: saved.is_file())
    with Image.open(file) as image:
        pixels = np.asarray(image)
    assert is_like(pixels, slope, GREEN)
    assert is_like(pixels, mountain, RED)
    assert not is_like(pixels, haze, PINK)
    hints.rename(photo.with_name(hints.name))
    by_command = photo.with_name("by command.png")
    assert colorgan("colorize", str(photo), "-o", str(by_command)).code == 0
    assert by_command.read_bytes() == file.read_bytes()


def test_likely_colours_a_wheel_and_keys(
    browser: webdriver.Chrome, address: str, photo: Path
) -> None:
    wait = open_page(browser, address, PHONE)
    browser.find_element(By.ID, "file").send_keys(str(photo))
    wait.until(lambda b: settled(b, 1))
    browser.find_element(By.ID, "hint").click()
    swatches = wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, ".swatches button"))
    assert 4 <= len(swatches) <= 7
    assert min(swatch.rect["width"] for swatch in swatches) >= 40
    swatches[1].click()
    chosen = swatches[1].get_attribute("data-colour")
    wait.until(lambda b: settled(b, 1) and is_like(shown_pixels(b), (0.5, 0.5), chosen))
    wheel = browser.find_element(By.CLASS_NAME, "wheel")
    ActionChains(browser).move_to_element_with_offset(wheel, 50, 10).click().perform()
    code = browser.find_element(By.CLASS_NAME, "code")
    from_wheel = code.get_attribute("value")
    assert from_wheel != chosen
    wheel.send_keys(Keys.ARROW_LEFT)
    assert code.get_attribute("value") != from_wheel
    give_colour(browser, "dragon")
    wrong = browser.find_element(By.CLASS_NAME, "wrong")
    assert wrong.text.startswith("dragon is no colour; it should be like #2e6b3f")
    give_colour(browser, "darkgreen")
    code.send_keys(Keys.ESCAPE)
    # The choice is one step; the focus is on the dot, which the arrows move.
    dot = browser.switch_to.active_element
    assert "#006400, 50% from the left, 50% from the top" in dot.get_attribute("aria-label")
    for _ in range(4):
        dot.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)
    assert "50% from the left" not in dot.get_attribute("aria-label")
    frame = browser.find_element(By.ID, "frame")
    width = frame.rect["width"]
    browser.find_element(By.ID, "larger").click()
    assert frame.rect["width"] == pytest.approx(1.5 * width, abs=2)
    dot.send_keys(Keys.ENTER)
    assert browser.find_element(By.ID, "picker").is_displayed()
    browser.find_element(By.CLASS_NAME, "remove").click()
    assert not dots(browser)
    for expected in (1, 1, 0):
        browser.find_element(By.ID, "undo").click()
        assert len(dots(browser)) == expected
    assert not browser.find_element(By.ID, "undo").is_enabled()


def test_fifty_hints_and_files_that_are_none(browser: webdriver.Chrome, address: str) -> None:
    """A photo keeps its hints while another one is on the stage."""
    wait = open_page(browser, address, PORTRAIT)
    places = np.random.default_rng(0).uniform(0.02, 0.98, (50, 2)).tolist()
    hint = {"x": 0.5, "y": 0.5, "colour": GREEN}
    many = [hint | {"x": x, "y": y} for x, y in places]
    good = {"version": 1, "width": 100, "height": 100, "hints": many}
    pictures = {}
    for name in ("one", "other"):
        path = sorted((ROOT / "data/sample/landscape").glob("*.webp"))[len(pictures)]
        pictures[f"{name}.webp"] = path.read_bytes()
    drop(browser, {"early.hints.json": json.dumps(good).encode()})
    assert message(browser) == "early.hints.json holds hints: add its photo first"
    drop(browser, pictures)
    wait.until(lambda b: settled(b, 2))
    drop(browser, {"one.hints.json": json.dumps(good).encode(), "bad.json": b"{"})
    wait.until(lambda b: len(dots(b)) == 50 and settled(b, 2))
    assert message(browser) == "bad.json is no file of hints: it is not JSON"
    faults = {
        "version is 2": json.dumps(good | {"version": 2}).encode(),
        "10000 hints are too many": json.dumps(good | {"hints": [hint] * 10_000}).encode(),
        "outside of the picture": json.dumps(good | {"hints": [hint | {"x": 100}]}).encode(),
        "should be #rrggbb": json.dumps(good | {"hints": [hint | {"colour": "dragon"}]}).encode(),
    }
    for said, content in faults.items():
        drop(browser, {"bad.json": content})
        wait.until(lambda b, said=said: message(b).startswith("bad.json") and said in message(b))
        assert len(dots(browser)) == 50
    browser.find_elements(By.CLASS_NAME, "thumb")[1].click()
    assert not dots(browser)
    browser.find_elements(By.CLASS_NAME, "thumb")[0].click()
    assert thumbs(browser)[0] == "one.webp, 50 hints, coloured"
    assert len(dots(browser)) == 50


def test_a_photo_that_the_server_has_forgotten_is_sent_again(
    browser: webdriver.Chrome, photo: Path
) -> None:
    """The server is another one, with the same address."""
    with served(ROOT) as address:
        wait = open_page(browser, address, PORTRAIT)
        browser.find_element(By.ID, "file").send_keys(str(photo))
        wait.until(lambda b: settled(b, 1))
    with served(ROOT, "--port", address.rpartition(":")[2]):
        press(browser, (0.5, 0.5))
        give_colour(browser, GREEN)
        wait.until(lambda b: settled(b, 1) and is_like(shown_pixels(b), (0.5, 0.5), GREEN))
