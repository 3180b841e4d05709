"""What cannot be coloured: one sentence each, the rest done, and exit code 1."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import (
    draw,
    encoded,
    gray,
    names_in,
    python_m_colorgan,
)
from PIL import Image

from colorgan.data import encoded as reading

Colorize = Callable[..., Any]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def noise(*size: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))


def wrong_byte(data: bytes) -> bytes:
    return data[:2000] + bytes([data[2000] ^ 255]) + data[2001:]


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "text.png": ("unreadable: not a ", lambda: b"no picture at all"),
    "empty.jpg": ("unreadable: the file is empty", lambda: b""),
    "cut.jpg": ("unreadable: ", lambda: encoded(noise(90, 90), "JPEG")[:3000]),
    "cut.png": ("unreadable: ", lambda: encoded(noise(90, 90), "PNG")[:3000]),
    "cut.tif": ("unreadable: ", lambda: encoded(noise(90, 90), "TIFF")[:3000]),
    "cut.webp": ("unreadable: ", lambda: encoded(noise(90, 90), "WEBP", lossless=True)[:3000]),
    "cut of several.gif": ("unreadable: ", lambda: encoded(noise(90, 90), "GIF")[:3000]),
    "cut.bmp": ("unreadable: ", lambda: encoded(noise(90, 90), "BMP")[:3000]),
    "head.png": ("unreadable: ", lambda: encoded(noise(90, 90), "PNG")[:20]),
    "wrong.png": ("unreadable: ", lambda: wrong_byte(encoded(noise(90, 90), "PNG"))),
    "large.png": (
        "too large: over 0.01 megapixels; --max-megapixels lifts the limit",
        lambda: encoded(noise(101, 100), "PNG"),
    ),
    "huge.tif": (
        "too large: over 0.01 megapixels; --max-megapixels lifts the limit",
        lambda: encoded(noise(300, 300), "TIFF"),
    ),
}


def test_what_fails_is_listed_and_the_rest_is_done(colorize: Colorize) -> None:
    draw("scans/good.png")
    draw("scans/as large as may be.png", noise(100, 100))
    for name, (_, content) in BAD.items():
        Path("scans", name).write_bytes(content())
    said = colorize("scans", "-o", "out", "--max-megapixels", "0.01")
    assert said.code == 1
    assert said.out == "colorize: 2 coloured, in out\n"
    assert names_in("out") == ["as large as may be.png", "good.png"]
    *lines, count = said.err.splitlines()
    assert count == f"colorgan: {len(BAD)} could not be coloured"
    assert len(lines) == len(BAD)
    for name, (reason, _) in BAD.items():
        [line] = [line for line in lines if f"/{name}: " in line]
        assert line.startswith(f"colorgan: scans/{name}: {reason}")


@pytest.mark.parametrize("name", BAD)
def test_a_single_bad_one_is_exit_code_1(colorize: Colorize, name: str) -> None:
    Path(name).write_bytes(BAD[name][1]())
    said = colorize(name, "-o", "out", "--max-megapixels", "0.01")
    assert (said.code, said.out) == (1, "colorize: 0 coloured, in out\n")
    assert said.err.startswith(f"colorgan: {name}: {BAD[name][0]}")
    assert names_in("out") == []


@pytest.mark.parametrize("limit", ["inf", "nan", "1e300", "-1", "0"])
def test_odd_limits_have_no_traceback(colorize: Colorize, limit: str) -> None:
    said = colorize(draw("a.png"), "-o", "out", "--max-megapixels", limit)
    assert said.code == 2 or (said.code == 0 and names_in("out") == ["a.png"])


def test_the_limit_holds_where_photos_are_read_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the command reads them: in threads, and the filters of warnings are of the process."""
    real, inside, left = Image.open, threading.Event(), threading.Event()
    large, small = encoded(noise(30, 40), "BMP"), encoded(noise(9, 9), "BMP")
    refused: list[str] = []

    def slow(*given: Any, **options: Any) -> Image.Image:
        if threading.current_thread() is second:
            inside.set()
            assert left.wait(10)
        return real(*given, **options)

    def read() -> None:
        try:
            with reading.opened(large):
                refused.append("it was opened")
        except reading.UnreadablePhoto as problem:
            refused.append(str(problem))

    second = threading.Thread(target=read)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(Image, "open", slow)
    with reading.opened(small):
        second.start()
        assert inside.wait(10)
    left.set()
    second.join(10)
    assert refused == ["too large: over 1000 pixels"]


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("file/below", "colorgan: -o file/below cannot be written to"),
        ("file/below/a.png", "colorgan: -o file/below cannot be written to"),
        ("file", "colorgan: -o file is a file"),
        pytest.param("/proc/below", "colorgan: -o /proc/below cannot be written to", marks=LINUX),
    ],
)
def test_where_nothing_can_be_written(colorize: Colorize, out: str, sentence: str) -> None:
    Path("file").write_text("mine")
    said = colorize(draw("a.png"), "-o", out)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(sentence)
    assert len(said.err.splitlines()) == 1
    assert Path("file").read_text() == "mine"


def test_one_that_cannot_be_written_stops_nothing_else(colorize: Colorize) -> None:
    for name in ("a/x.png", "b/y.png", "c.png"):
        draw(f"scans/{name}")
    Path("out/c.png").mkdir(parents=True)
    Path("out/a").write_text("mine")
    said = colorize("scans", "-o", "out")
    assert (said.code, said.out) == (1, "colorize: 1 coloured, in out\n")
    assert names_in("out") == ["a", "b/y.png"]
    first, second = sorted(said.err.splitlines()[:2])
    assert first.startswith("colorgan: scans/a/x.png: out/a/x.png cannot be written: ")
    assert second == "colorgan: scans/c.png: out/c.png is a folder"


def test_an_input_that_the_system_refuses_stops_nothing_else(colorize: Colorize) -> None:
    """As a name that is too long does, and a folder that may not be looked into."""
    draw("a.png")
    said = colorize(300 * "x", "a.png", "-o", "out")
    assert (said.code, said.out, names_in("out")) == (
        1,
        "colorize: 1 coloured, in out\n",
        ["a.png"],
    )
    assert said.err.splitlines()[0] == f"colorgan: {300 * 'x'}: File name too long"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_one_that_may_not_be_read(colorize: Colorize) -> None:
    draw("scans/a.png").chmod(0)
    draw("scans/b.png")
    said = colorize("scans", "-o", "out")
    assert said.err.splitlines()[0] == "colorgan: scans/a.png: Permission denied"
    assert (said.code, names_in("out")) == (1, ["b.png"])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("empty", "empty"),
        ("nowhere", "--model nowhere: no folder of this name"),
        ("models/lab/generator.safetensors", "is a file; it should be the folder it lies in"),
        ("nowhere.onnx", "nowhere.onnx does not exist"),
        ("a.png", "a.png"),
    ],
)
def test_no_model_of_this_name(model: Path, colorgan: Colorize, name: str, sentence: str) -> None:
    Path("empty").mkdir()
    draw("a.png")
    said = colorgan("colorize", "a.png", "-o", "out", "--model", name)
    assert (said.code, said.out) == (1, "")
    [line] = said.err.splitlines()
    assert line.startswith("colorgan: ")
    assert sentence in line
    # There is no such space to train.
    assert "train empty" not in line
    assert not Path("out").exists()


def test_failures_are_said_whatever_else_is_read(model: Path) -> None:
    """Also among many TIFFs, which are decoded with what libtiff prints kept off the terminal."""
    for i in range(24):
        draw(f"scans/{i:02}.tif", gray(600, 400), compression="tiff_lzw")
    Path("scans/zz.png").write_bytes(b"no picture")
    ended = python_m_colorgan("colorize", "scans", "-o", "out", "--model", str(model))
    assert ended.returncode == 1
    assert ended.stdout == "colorize: 24 coloured, in out\n"
    first, last = ended.stderr.splitlines()
    assert first.startswith("colorgan: scans/zz.png: unreadable: not a ")
    assert last == "colorgan: 1 could not be coloured"
