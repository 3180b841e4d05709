"""`colorgan colorize`: what it prints, what it leaves alone, its options, and what fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import chroma, color, draw, encoded, gray, lightness_off, names_in, pixels
from PIL import Image

from colorgan.inference import files
from trained import fail_on_black

Colorize = Callable[..., Any]


def test_results_that_are_there_are_left(colorize: Colorize) -> None:
    draw("scans/a.png")
    draw("scans/b.png")
    mine = draw("out/a.png", color()).read_bytes()
    said = colorize("scans", "-o", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "colorize: 1 coloured, in out\n"
        "colorize: 1 were there already; --overwrite makes them anew\n"
    )
    assert Path("out/a.png").read_bytes() == mine
    said = colorize("scans", "-o", "out", "--overwrite")
    assert (said.code, said.out) == (0, "colorize: 2 coloured, in out\n")
    assert lightness_off(gray(), pixels("out/a.png")) <= 1


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (1, 100), (31, 33)])
def test_odd_sizes_are_coloured(colorize: Colorize, size: tuple[int, int]) -> None:
    picture = np.full((1, 1), 120, np.uint8) if size == (1, 1) else gray(*size)
    said = colorize(draw("a.png", picture), "-o", "out")
    assert (said.code, said.err) == (0, "")
    result = pixels("out/a.png")
    assert result.shape == (*picture.shape, 3)
    assert lightness_off(picture, result) <= 1
    assert min(size) < 3 or chroma(result) > 5


def noise(*size: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8))


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "text.png": ("unreadable: not a ", lambda: b"no picture at all"),
    "empty.jpg": ("unreadable: the file is empty", lambda: b""),
    "cut.jpg": ("unreadable: ", lambda: encoded(noise(90, 90), "JPEG")[:3000]),
    "large.png": (
        "too large: over 0.01 megapixels; --max-megapixels lifts the limit",
        lambda: encoded(noise(101, 100), "PNG"),
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


def test_a_network_that_fails_on_one_picture_fails_on_it_alone(
    colorize: Colorize, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on_black(monkeypatch)
    for name, picture in (("a", gray()), ("b", 0 * gray()), ("c", gray())):
        draw(f"scans/{name}.png", picture)
    said = colorize("scans", "-o", "out")
    assert (said.code, said.out) == (1, "colorize: 2 coloured, in out\n")
    assert "scans/b.png: --model" in said.err
    assert "not finite (NaN or inf)" in said.err
    assert names_in("out") == ["a.png", "c.png"]


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


def test_a_photo_whose_comparison_fails_is_coloured(
    colorize: Colorize, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "compare", fails)
    draw("a.png")
    said = colorize("a.png", "-o", "out", "--compare", "side")
    assert (said.code, said.out) == (1, "colorize: 1 coloured, in out\n")
    assert said.err == (
        "colorgan: a.png: coloured, but out/a_compare.jpg cannot be written: No space left on "
        "device\n"
    )
    assert names_in("out") == ["a.png"]


def test_memory_follows_the_largest_picture(
    colorize: Colorize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of few pixels share a batch, one of many is alone; a file as large is not read."""
    monkeypatch.setattr(files, "PIXELS_AT_ONCE", 6000)
    batches = []
    color = files._Run.color
    monkeypatch.setattr(
        files._Run, "color", lambda run, batch: batches.append(len(batch)) or color(run, batch)
    )
    for i, side in enumerate((50, 40, 90, 90, 50, 40)):
        draw(f"scans/{i}.png", gray(side, side))
    with Path("scans/z.jpg").open("wb") as file:
        file.truncate(70_000_000)
    said = colorize("scans", "-o", "out", "--max-megapixels", "0.0125")
    assert said.out == "colorize: 6 coloured, in out\n"
    assert batches == [2, 1, 1, 2, 1]
    assert "scans/z.jpg: too large: over 0.0125 megapixels" in said.err


STOPPED = """
import os, signal, sys
from colorgan import cli
from colorgan.inference import files
write = files.write
def write_or_stop(file, pages, format):
    pages = list(pages)
    if len(pages[0][0].pixels) == 90:
        os.kill(os.getpid(), signal.{signal})
        __import__("time").sleep(300)
    write(file, pages, format)
files.write = write_or_stop
cli.main()
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_it_in_seconds_and_says_what_is_done(
    model: Path, name: str, code: int
) -> None:
    draw("scans/a.png")
    Path("scans/b.png").write_bytes(b"no picture")
    for i in range(3):
        draw(f"scans/large {i}.png", gray(90, 90))
    script = STOPPED.format(signal=name)
    command = [sys.executable, "-c", script, "colorize", "scans", "-o", "out", "--batch-size", "2"]
    ended = subprocess.run(
        [*command, "--model", model], capture_output=True, text=True, check=False, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (code, "colorize: 1 coloured, in out\n")
    first, *last = ended.stderr.splitlines()
    assert first.startswith("colorgan: scans/b.png: unreadable")
    assert last == [
        "colorgan: 1 could not be coloured",
        "colorgan: stopped; the same command colours the rest",
    ]
    assert names_in("out") == ["a.png"]


@pytest.mark.parametrize("inputs", [["scans/a.png"], ["other/a.png", "scans/a.png"]])
@pytest.mark.parametrize("out", ["scans", "link"])
def test_no_input_is_written_over(colorize: Colorize, inputs: list[str], out: str) -> None:
    source = draw("scans/a.png").read_bytes()
    draw("other/a.png", gray()[::-1])
    Path("link").symlink_to("scans")
    said = colorize(*inputs, "-o", out, "--overwrite")
    assert said.code == 1
    assert "an input" in said.err
    assert Path("scans/a.png").read_bytes() == source


def test_wrong_options_are_exit_code_2(colorize: Colorize) -> None:
    for option, value in (("--saturation", "nan"), ("--max-megapixels", "inf")):
        assert colorize(draw("a.png"), "-o", "out", option, value).code == 2
    assert not Path("out").exists()
