"""What `mlflow models serve` answers with a champion: to photos, and to what is none."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorgan.config import Params
from colorgan.serving.promote import promote
from servers import free_port, running
from trained import record_training, save_tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mlflow") is None, reason="mlflow is not on PATH"),
]


@pytest.fixture(scope="module")
def address(lasting_project: Path, make_params: Callable[..., Params]) -> Iterator[str]:
    """`mlflow models serve`, as a person starts it."""
    record_training(save_tiny(lasting_project / "trained", "lab", make_params(), 1), "lab", [0.8])
    promote("lab")
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/colorgan-lab@champion"]
    # Not the checkout's code: that which lies with the model.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-m", *command, "--env-manager", "local", "--port", str(port)]
    with running(command, f"http://127.0.0.1:{port}/ping", env=env, cwd=lasting_project):
        yield f"http://127.0.0.1:{port}"


def text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def photo(width: int = 48, height: int = 40, format: str = "TIFF") -> bytes:
    buffer = io.BytesIO()
    ramp = np.linspace(0, 255, width * height).reshape(height, width).astype(np.uint8)
    Image.fromarray(ramp).save(buffer, format)
    return buffer.getvalue()


def is_coloured(png: str) -> bool:
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    assert (image.format, image.size, image.mode) == ("PNG", (48, 40), "RGB")
    return bool(np.ptp(np.asarray(image).astype(int), axis=-1).mean() > 5)


def rows(address: str, *images: Any, **params: Any) -> list[dict[str, str]]:
    """Ask for images as the documents say, and return the answer's rows."""
    data = {"columns": ["image"], "data": [[image] for image in images]}
    body = json.dumps({"dataframe_split": data, "params": params}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["predictions"]


def test_each_row_has_its_picture_or_its_error(address: str) -> None:
    """What is wrong in one row does not stop the others, before it and behind it."""
    good, bomb = text(photo()), io.BytesIO()
    # A file of 100 kB with 900 megapixels in it.
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    wrong: list[tuple[Any, str]] = [
        ("no base64!", "an image should be bytes, or text in base64"),
        (5, "an image should be bytes, or text in base64"),
        (None, "an image should be bytes, or text in base64"),
        ("", "unreadable: the file is empty"),
        (text(b"garbage"), "unreadable: not a JPEG"),
        (text(photo()[:900]), "unreadable: "),
        (text(bomb.getvalue()), "too large: over "),
        (text(bytes(75_000_000)), "unreadable: not a JPEG"),
    ]
    first, *others, last = rows(address, good, *(image for image, _ in wrong), good)
    assert first == last
    assert first["error"] == ""
    assert is_coloured(first["png"])
    for (_, said), row in zip(wrong, others, strict=True):
        assert row["png"] == ""
        assert row["error"].startswith(said), row


def test_base64_as_browsers_and_encoders_write_it(address: str) -> None:
    content = photo(format="PNG")
    lines, uri = base64.encodebytes(content).decode(), f"data:image/png;base64,{text(content)}"
    assert "\n" in lines.strip()
    plain, *others = rows(address, text(content), lines, uri)
    assert plain["error"] == ""
    assert others == [plain, plain]


def test_less_saturation_is_less_colour(address: str) -> None:
    [gray] = rows(address, text(photo()), saturation=0.0)
    assert not is_coloured(gray["png"])
    for saturation in (-1.0, 1e9, float("nan")):
        [row] = rows(address, text(photo()), saturation=saturation)
        assert row == {"png": "", "error": "saturation should be a number from 0 to 4"}
