"""The page of `colorgan app`, started and asked, and what a browser shows of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By

SECONDS_TO_WAIT = 60
PORTRAIT, PHONE = (1200, 900), (390, 844)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def served(folder: Path, *options: str) -> Iterator[str]:
    """The page of a project, as a person starts it; its address."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "colorgan", "app", "--port", str(port), *options],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    said = server.stdout.readline()
    assert said == f"colorgan app: http://127.0.0.1:{port} (Ctrl-C ends it)\n", said
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=30)[0]
    assert "Traceback" not in rest, rest


def ask(address: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(address, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_TO_WAIT) as answer:
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
