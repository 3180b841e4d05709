"""Speed and memory of colour hints on the page of `colorgan app`.

    python benchmarks/hints.py                # about three minutes

For a photo of 1 and of 24 megapixels: the seconds to the first answer, from the upload on; of
further answers, each with one of 10 hints moved; of likely colours; and of the file. Then the
memory of the server over 500 moves. Claims, on two cores: a move is answered within 0.3 s, and the
memory stays the same.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from colorgan import io, paths

# Beside this file.
from large_photos import write_photo  # isort: skip

SIZES = {"1": (1250, 800), "24": (6000, 4000)}
"""Width and height by megapixels."""
HINTS = 10
MOVES_OF_MEMORY = 500


class Page:
    """The server of the page, asked as the page asks it."""

    def __init__(self, address: str, process: psutil.Popen) -> None:
        self.address, self.process = address, process

    def send(self, content: bytes) -> dict[str, Any]:
        """Upload a photo; return what is told of it."""
        told: dict[str, Any] = json.loads(self._post("?name=a.jpg", content))
        return told

    def color(self, told: dict[str, Any], kind: str, hints: list[Any], **asked: Any) -> None:
        """Ask for `preview`, `file` or `colours` of a photo that was sent."""
        size = {"width": told["width"], "height": told["height"]}
        body = {"version": 1, "hints": hints, **size, **asked}
        self._post(f"/{told['id']}/{kind}", json.dumps(body).encode())

    def _post(self, path: str, content: bytes) -> bytes:
        request = urllib.request.Request(f"{self.address}/api/photos{path}", content)
        with urllib.request.urlopen(request) as answer:
            body: bytes = answer.read()
        return body


@contextmanager
def served(*options: str) -> Iterator[Page]:
    """Start the page at a free port."""
    command = [sys.executable, "-m", "colorgan", "app", "--port", "0", *options]
    process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        yield Page(found[0], process)
    finally:
        process.terminate()
        process.wait()


def moves(page: Page, told: dict[str, Any], n: int) -> Iterator[float]:
    """Move one of the hints so many times; yield the seconds of each answer."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0.1, 0.9, (HINTS, 2)).tolist()
    colours = ["#2e6b3f", "#8b2222", "#2e5b8f", "#c9a227", "#7a5c3e"]
    hints = [
        {"x": x, "y": y, "colour": colours[i % len(colours)]} for i, (x, y) in enumerate(places)
    ]
    for i in range(n):
        hints[0]["x"] = 0.1 + 0.8 * (i % 97) / 97
        start = time.perf_counter()
        page.color(told, "preview", hints)
        yield time.perf_counter() - start


def measure(page: Page, content: bytes, n: int) -> dict[str, float]:
    """Return the seconds of what the page asks for a photo."""
    start = time.perf_counter()
    told = page.send(content)
    page.color(told, "preview", [])
    figures = {"first_s": time.perf_counter() - start}
    times = list(moves(page, told, n))
    figures |= {f"move_p{p}_s": float(np.percentile(times, p)) for p in (50, 95)}
    for kind in ("colours", "file"):
        start = time.perf_counter()
        page.color(told, kind, [], x=0.5, y=0.5)
        figures[f"{kind}_s"] = time.perf_counter() - start
    return figures


def memory(page: Page, content: bytes, n: int) -> dict[str, float]:
    """Return the memory of the server in MB after the first tenth of so many moves and at last."""
    told = page.send(content)
    used = []
    for i, _ in enumerate(moves(page, told, n)):
        if i in (n // 10, n - 1):
            used.append(page.process.memory_full_info().uss / 1e6)
    return {"memory_mb_before": used[0], "memory_mb_after": used[-1]}


def main(
    n: Annotated[int, typer.Option("--moves", help="Further answers of each photo")] = 200,
    model: Annotated[str, typer.Option(help="As of `colorgan app`")] = "pretrained",
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "hints_speed.json"
    ),
) -> None:
    """Measure and print."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder, served("--model", model) as page:
        contents = {}
        for name, (width, height) in SIZES.items():
            path = Path(folder) / f"{name}.jpg"
            write_photo(path, "L", width, height)
            contents[name] = path.read_bytes()
        measure(page, contents["1"], 3)  # the first photo loads what is imported late
        for name, content in contents.items():
            found = measure(page, content, n)
            figures |= {f"{name}_megapixels_{key}": value for key, value in found.items()}
        figures |= memory(page, contents["1"], MOVES_OF_MEMORY * n // 200)
    io.write_json(out, figures)
    for name, value in figures.items():
        print(f"{name:32} {value:8.3f}")


if __name__ == "__main__":
    typer.run(main)
