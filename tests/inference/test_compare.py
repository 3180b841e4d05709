"""Before and after: side by side, or a page with a slider; and what they must not write over."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import HEIGHT, WIDTH, Array, alpha, chroma, color, draw, gray, names_in, pixels
from PIL import Image

Colorize = Callable[..., Any]
GAP = 8
SUFFIX = {"side": "_compare.jpg", "slider": "_compare.html"}


def halves(path: str) -> tuple[Array, Array]:
    both = pixels(path)
    width = (both.shape[1] - GAP) // 2
    assert (both[:, width + 2 : width + GAP - 2] > 240).all()
    return both[:, :width], both[:, width + GAP :]


def pictures_of_page(path: str) -> dict[str, Array]:
    page = Path(path).read_text(encoding="utf-8")
    found = re.findall(r'class="(before|after)"[^>]*src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(found) == 2
    return {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        for name, data in found
    }


def off(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_side_by_side_is_before_and_after(colorize: Colorize) -> None:
    said = colorize(draw("scans/sub/a.png"), "-o", "out", "--compare", "side")
    assert (said.code, said.out) == (0, "colorize: 1 coloured, in out\n")
    assert names_in("out") == ["a.png", "a_compare.jpg"]
    before, after = halves("out/a_compare.jpg")
    assert before.shape == after.shape == (HEIGHT, WIDTH, 3)
    assert off(before, gray()[..., None]) < 4
    assert off(after, pixels("out/a.png")) < 8
    assert chroma(after) > 5 > chroma(before)


def test_a_slider_is_a_page_that_needs_nothing_else(colorize: Colorize) -> None:
    assert colorize(draw("scans/a.png"), "-o", "out", "--compare", "slider").code == 0
    assert names_in("out") == ["a.png", "a_compare.html"]
    shown = pictures_of_page("out/a_compare.html")
    assert off(shown["before"], gray()[..., None]) < 4
    assert off(shown["after"], pixels("out/a.png")) < 8
    page = Path("out/a_compare.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script[^>]* src|<link", page)
    assert 'type="range"' in page


@pytest.mark.parametrize("name", ["<b>&\"'.png", "{title}.png"])
def test_the_title_is_the_name_whatever_is_in_it(colorize: Colorize, name: str) -> None:
    assert colorize(draw(name), "-o", "out", "--compare", "slider").code == 0
    [page] = Path("out").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "<b>" not in text
    for special, written in {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}.items():
        name = name.replace(special, written)
    assert f"<title>{name.replace(chr(39), '&#x27;')}</title>" in text


@pytest.mark.parametrize("kind", ["side", "slider"])
def test_both_are_upright(colorize: Colorize, kind: str) -> None:
    data = Image.Exif()
    data[0x112] = 6
    lying = Image.fromarray(gray()).transpose(Image.Transpose.ROTATE_90)
    assert colorize(draw("a.png", lying, exif=data), "-o", "out", "--compare", kind).code == 0
    if kind == "side":
        before, after = halves("out/a_compare.jpg")
    else:
        before, after = pictures_of_page("out/a_compare.html").values()
        before, after = (after, before) if chroma(before) > chroma(after) else (before, after)
    assert before.shape == after.shape == (HEIGHT, WIDTH, 3)
    assert off(before, gray()[..., None]) < 4


@pytest.mark.parametrize("kind", ["side", "slider"])
@pytest.mark.parametrize(
    "picture",
    [
        gray(1, 1),
        gray(33_000, 2),
        np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40),
        np.dstack((color(), alpha())),
    ],
    ids=["1x1", "33000x2", "16 bits", "alpha"],
)
def test_odd_pictures_have_comparisons_too(colorize: Colorize, picture: Array, kind: str) -> None:
    said = colorize(draw("a.png", picture), "-o", "out", "--compare", kind)
    assert (said.code, said.err) == (0, "")
    assert names_in("out") == ["a.png", f"a{SUFFIX[kind]}"]
    if kind == "side":
        shown = (picture.shape[0], min(picture.shape[1], 32_000), 3)
        assert halves("out/a_compare.jpg")[1].shape == shown
    else:
        assert max(pictures_of_page("out/a_compare.html")["after"].shape) <= 1600


@pytest.mark.parametrize("kind", ["side", "slider"])
def test_two_pictures_of_one_stem_have_a_comparison_each(colorize: Colorize, kind: str) -> None:
    draw("scans/a.png")
    draw("scans/a.jpg", gray()[::-1])
    said = colorize("scans", "-o", "out", "--compare", kind)
    assert said.code == 0
    comparisons = {f"a{SUFFIX[kind]}", f"a.png{SUFFIX[kind]}"}
    assert set(names_in("out")) == {"a.png", "a.jpg", *comparisons}


def test_a_comparison_is_never_written_over_an_input(colorize: Colorize) -> None:
    draw("scans/a.jpg")
    source = draw("scans/a_compare.jpg", gray()[::-1]).read_bytes()
    said = colorize(
        *("scans/a.jpg", "scans/a_compare.jpg", "-o", "scans", "--format", "png"),
        *("--compare", "side", "--overwrite"),
    )
    assert Path("scans/a_compare.jpg").read_bytes() == source
    assert said.code == 1


def test_a_comparison_leaves_what_is_there(colorize: Colorize) -> None:
    draw("a.png")
    mine = draw("out/a_compare.jpg", color()).read_bytes()
    colorize("a.png", "-o", "out", "--compare", "side")
    assert Path("out/a_compare.jpg").read_bytes() == mine
    colorize("a.png", "-o", "out", "--compare", "side", "--overwrite")
    assert Path("out/a_compare.jpg").read_bytes() != mine
