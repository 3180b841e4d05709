"""The page of `colorgan app`, started and asked, and what a browser shows of it."""

from __future__ import annotations

import base64
import io
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
from selenium.webdriver.common.by import By

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


def results(browser: webdriver.Chrome) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, "#results figure")


def loaded(browser: webdriver.Chrome, count: int) -> bool:
    script = """
      const images = [...document.querySelectorAll("#results img")];
      return images.length == 2 * arguments[0]
        && images.every((image) => image.complete && image.naturalWidth > 0);
    """
    return bool(browser.execute_script(script, count))


def pixels_of(browser: webdriver.Chrome, figure: Any) -> npt.NDArray[Any]:
    """The picture behind the link of a result, which the page itself keeps."""
    script = """
      const [link, done] = arguments;
      const image = new Image();
      image.onload = () => {
        const canvas = document.createElement("canvas");
        Object.assign(canvas, { width: image.width, height: image.height });
        canvas.getContext("2d").drawImage(image, 0, 0);
        done(canvas.toDataURL("image/png").split(",")[1]);
      };
      image.src = link.href;
    """
    link = figure.find_element(By.CLASS_NAME, "download")
    content = base64.b64decode(browser.execute_async_script(script, link))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


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
