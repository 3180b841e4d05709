"""Before and after: side by side, or a page with a slider; and what they must not write over."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import HEIGHT, WIDTH, Array, alpha, chroma, color, draw, gray, names_in, pixels
from PIL import Image, ImageOps

Colorize = Callable[..., Any]
GAP = 8
SUFFIX = {"side": "_compare.jpg", "slider": "_compare.html"}


def compared(colorize: Colorize, kind: str, source: Path) -> tuple[Array, Array]:
    """Colour a file and return the two pictures of its comparison."""
    said = colorize(source, "-o", "out", "--compare", kind)
    assert (said.code, said.err) == (0, "")
    assert names_in("out") == ["a.png", f"a{SUFFIX[kind]}"]
    if kind == "slider":
        page = pictures_of_page("out/a_compare.html")
        return page["before"], page["after"]
    both = pixels("out/a_compare.jpg")
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


@pytest.mark.parametrize("kind", ["side", "slider"])
def test_before_and_after_upright(colorize: Colorize, kind: str) -> None:
    data = Image.Exif()
    data[0x112] = 6
    lying = Image.fromarray(gray()).transpose(Image.Transpose.ROTATE_90)
    before, after = compared(colorize, kind, draw("scans/a.png", lying, exif=data))
    assert before.shape == after.shape == (HEIGHT, WIDTH, 3)
    assert off(before, gray()[..., None]) < 4
    with Image.open("out/a.png") as result:
        assert off(after, np.asarray(ImageOps.exif_transpose(result))) < 8
    assert chroma(after) > 5 > chroma(before)


@pytest.mark.parametrize(
    ("kind", "picture", "longest"),
    [
        ("slider", gray(33_000, 2), 1600),
        ("side", gray(33_000, 2), 32_000),
        ("side", np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40), 40),
        ("side", np.dstack((color(), alpha())), WIDTH),
    ],
    ids=["long", "long side", "16 bits", "alpha"],
)
def test_odd_pictures_have_comparisons_too(
    colorize: Colorize, kind: str, picture: Array, longest: int
) -> None:
    _, after = compared(colorize, kind, draw("a.png", picture))
    assert max(after.shape) == longest


def test_the_title_is_the_name_whatever_is_in_it(colorize: Colorize) -> None:
    name = "<b>{title}&\"'.png"
    assert colorize(draw(name), "-o", "out", "--compare", "slider").code == 0
    [page] = Path("out").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script[^>]* src|<link", text), "it needs nothing else"
    assert "<b>" not in text
    assert f"<title>{html.escape(name)}</title>" in text


def test_two_pictures_of_one_stem_have_a_comparison_each(colorize: Colorize) -> None:
    draw("scans/a.png")
    draw("scans/a.jpg", gray()[::-1])
    assert colorize("scans", "-o", "out", "--compare", "side").code == 0
    assert names_in("out") == ["a.jpg", "a.png", "a.png_compare.jpg", "a_compare.jpg"]
    # What is there is left, unless asked for.
    mine = draw("out/a_compare.jpg", color()).read_bytes()
    colorize("scans", "-o", "out", "--compare", "side")
    assert Path("out/a_compare.jpg").read_bytes() == mine
    colorize("scans", "-o", "out", "--compare", "side", "--overwrite")
    assert Path("out/a_compare.jpg").read_bytes() != mine


def test_a_comparison_is_never_written_over_an_input(colorize: Colorize) -> None:
    draw("scans/a.jpg")
    source = draw("scans/a_compare.jpg", gray()[::-1]).read_bytes()
    said = colorize(
        *("scans/a.jpg", "scans/a_compare.jpg", "-o", "scans", "--format", "png"),
        *("--compare", "side", "--overwrite"),
    )
    assert Path("scans/a_compare.jpg").read_bytes() == source
    assert said.code == 1
