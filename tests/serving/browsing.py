"""The page of `colorgan app`, started and asked, and what a browser shows of it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]
SECONDS_TO_WAIT = 60
PORTRAIT, PHONE = (1200, 900), (390, 844)


def start(folder: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Start the page of a project, as a person does; return the process and its address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "colorgan", "app", "--port", "0", *options],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    said = server.stdout.readline()
    found = re.fullmatch(r"colorgan app: (http://\S+:\d+) \(Ctrl-C ends it\)\n", said)
    assert found, said
    return server, found[1]


@contextmanager
def served(folder: Path, *options: str) -> Iterator[str]:
    """The page of a project; its address."""
    server, address = start(folder, *options)
    try:
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=30)[0]
    assert "Traceback" not in rest, rest


def ask(
    address: str, body: bytes | None = None, seconds: float = SECONDS_TO_WAIT, **headers: str
) -> tuple[int, Any, bytes]:
    """The code, the headers and the body of an answer. In names of headers, `_` is `-`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, body, names)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def send(address: str, content: bytes, query: str = "") -> tuple[int, Any]:
    """Upload a photo; the code and what is told of it."""
    code, _, body = ask(f"{address}/api/photos{query}", content)
    return code, json.loads(body)


def color(
    address: str, told: dict[str, Any], kind: str = "file", **asked: Any
) -> tuple[int, Any, bytes]:
    """Ask for a photo that was sent, in colour, as the page does."""
    body = {"version": 1, "width": told["width"], "height": told["height"], "hints": []} | asked
    return ask(f"{address}/api/photos/{told['id']}/{kind}", json.dumps(body).encode())


def open_page(browser: webdriver.Chrome, address: str, size: tuple[int, int]) -> WebDriverWait[Any]:
    browser.set_window_size(*size)
    browser.get(address)
    wait = WebDriverWait(browser, SECONDS_TO_WAIT, 0.1)
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#models input"))
    return wait


def thumbs(browser: webdriver.Chrome) -> list[str]:
    """What a screen reader says of each photo in the strip."""
    found = browser.find_elements(By.CLASS_NAME, "thumb")
    return [thumb.get_attribute("aria-label") or "" for thumb in found]


def settled(browser: webdriver.Chrome, count: int) -> bool:
    """Whether there are so many photos, all coloured or failed."""
    states = thumbs(browser)
    return len(states) == count and not any(one.endswith("being coloured") for one in states)


def message(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.ID, "message").text


def shown_pixels(browser: webdriver.Chrome) -> npt.NDArray[Any]:
    """The coloured photo on the stage."""
    script = """
      const image = document.getElementById("after");
      const canvas = document.createElement("canvas");
      Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight });
      canvas.getContext("2d").drawImage(image, 0, 0);
      return canvas.toDataURL("image/png").split(",")[1];
    """
    content = base64.b64decode(browser.execute_script(script))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def press(browser: webdriver.Chrome, *places: tuple[float, float]) -> None:
    """Press on a place of the photo, in fractions, and release at the last one."""
    script = "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]"
    left, top, width, height = browser.execute_script(script, browser.find_element(By.ID, "frame"))
    actions = ActionBuilder(browser)
    pointer = actions.pointer_action
    for i, (x, y) in enumerate(places):
        pointer.move_to_location(round(left + x * width), round(top + y * height))
        if i == 0:
            pointer.pointer_down()
    pointer.pointer_up()
    actions.perform()


def give_colour(browser: webdriver.Chrome, colour: str) -> None:
    """Type a colour into the choice that is open."""
    code = browser.find_element(By.CLASS_NAME, "code")
    code.clear()
    code.send_keys(colour, Keys.ENTER)


def choose_done(browser: webdriver.Chrome) -> None:
    browser.find_element(By.CLASS_NAME, "done").click()


def drop(browser: webdriver.Chrome, files: dict[str, bytes]) -> None:
    """Drop files on the page, as from a file manager."""
    script = """
      const data = new DataTransfer();
      for (const [name, text] of arguments[0]) {
        const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
        data.items.add(new File([bytes], name));
      }
      document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
    """
    texts = [(name, base64.b64encode(content).decode()) for name, content in files.items()]
    browser.execute_script(script, texts)
