"""What is coloured and where to: files, folders, patterns, names of all kinds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import chroma, draw, encoded, gray, names_in, pixels
from PIL import Image

Colorize = Callable[..., Any]


def test_a_folder_keeps_its_structure(colorize: Colorize) -> None:
    for name in ("a.png", "1950/b.jpg", "1950/Sommer am Meer/c.tif", "1950/D.JPG"):
        draw(f"scans/{name}")
    Path("scans/1950/notes.txt").write_text("no picture")
    Path("scans/empty").mkdir()
    said = colorize("scans", "-o", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out == "colorize: 4 coloured, in out\n"
    assert names_in("out") == ["1950/D.JPG", "1950/Sommer am Meer/c.tif", "1950/b.jpg", "a.png"]
    assert all(chroma(pixels(Path("out") / name)) > 5 for name in names_in("out"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("scans/**/*.png", ["1950/b.png", "1951/c.png", "a.png"]),
        ("**/d.*", ["scans/1951/d.jpg"]),
    ],
)
def test_a_pattern_keeps_the_structure_below_its_fixed_part(
    colorize: Colorize, pattern: str, names: list[str]
) -> None:
    for name in ("a.png", "1950/b.png", "1951/c.png", "1951/d.jpg"):
        draw(f"scans/{name}")
    for given in (pattern, Path.cwd() / pattern):
        assert colorize(given, "-o", "out").code == 0
        assert names_in("out") == names
        shutil.rmtree("out")


@pytest.mark.parametrize(
    "name", ["写真 1.png", "a'b\"c.png", "-x.png", "e\u0301.png", "a[1].png", "n" * 251 + ".png"]
)
def test_names_of_all_kinds(colorize: Colorize, name: str) -> None:
    draw(f"alte Bilder/{name}")
    said = colorize("alte Bilder", "-o", "in Farbe ü")
    assert (said.code, said.err) == (0, "")
    assert names_in("in Farbe ü") == [name]
    # As it is written, though it could be a pattern.
    assert colorize(f"alte Bilder/{name}", "-o", "out").code == 0
    assert names_in("out") == [name]


@pytest.mark.parametrize(
    ("name", "format", "result"),
    [
        ("scan", "PNG", "scan.png"),
        ("in fact a png.jpg", "PNG", "in fact a png.png"),
        # What follows the dot is no suffix of a picture, but a part of the name.
        ("Foto Nr. 1", "JPEG", "Foto Nr. 1.jpg"),
    ],
)
def test_the_suffix_follows_the_content(
    colorize: Colorize, name: str, format: str, result: str
) -> None:
    draw(name, format=format)
    assert colorize(name, "-o", "out").code == 0
    assert names_in("out") == [result]
    with Image.open(f"out/{result}") as image:
        assert image.format == format


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("missing.png", "missing.png: it does not exist"),
        ("empty", "empty: it holds no picture"),
        (300 * "x", "x: File name too long"),
    ],
)
def test_an_input_with_nothing_in_it_stops_nothing_else(
    colorize: Colorize, bad: str, sentence: str
) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no picture")
    draw("good.png")
    said = colorize("good.png", bad, "-o", "out")
    assert said.code == 1
    assert sentence in said.err
    assert names_in("out") == ["good.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.png", "-o", "b.gif"), "-o b.gif: .gif is not written; it should be one of .jpg, "),
        (
            ("a.png", "-o", "b.jpg", "--format", "png"),
            "-o b.jpg is a JPEG by its suffix and --format says",
        ),
        (
            ("a.png", "b.png", "-o", "mine"),
            "-o mine is a file; for several pictures it should be a",
        ),
        (("a.png", "-o", "mine/below/a.png"), "-o mine/below cannot be written to"),
    ],
)
def test_where_nothing_can_be_written(
    colorize: Colorize, arguments: tuple[str, ...], sentence: str
) -> None:
    draw("a.png")
    draw("b.png")
    Path("mine").write_text("mine")
    said = colorize(*arguments)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"colorgan: {sentence}")
    assert len(said.err.splitlines()) == 1
    assert Path("mine").read_text() == "mine"


def test_two_that_become_one_file(colorize: Colorize) -> None:
    draw("x/a.png")
    draw("y/a.gif", gray()[::-1])
    draw("other.png")
    said = colorize("x/a.png", "y/a.gif", "other.png", "-o", "out")
    assert said.code == 1
    assert said.out == "colorize: 2 coloured, in out\n"
    [line, count] = said.err.splitlines()
    assert "x/a.png" in line
    assert line.startswith("colorgan: y/a.gif: ")
    assert count == "colorgan: 1 could not be coloured"
    assert names_in("out") == ["a.png", "other.png"]


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
def test_a_name_that_is_no_text(colorize: Colorize) -> None:
    Path("scans").mkdir()
    try:
        with open(b"scans/\xff.png", "wb") as file:  # noqa: PTH123 - no path has such a name
            file.write(encoded(Image.fromarray(gray()), "PNG"))
    except OSError:
        pytest.skip("this file system wants text")
    said = colorize("scans", "-o", "out", "--compare", "slider")
    assert (said.code, said.err) == (0, "")
    assert [os.fsencode(path.name) for path in Path("out").glob("*.png")] == [b"\xff.png"]


def test_a_single_picture_may_go_to_a_file(colorize: Colorize) -> None:
    said = colorize(draw("a.png"), "-o", "new/b.jpg")
    assert (said.code, said.out) == (0, "colorize: 1 coloured, in new/b.jpg\n")
    with Image.open("new/b.jpg") as image:
        assert image.format == "JPEG"


def test_a_picture_is_coloured_once(colorize: Colorize) -> None:
    """Whether it is named twice, or lies among the results, which are no inputs."""
    draw("scans/a.png")
    said = colorize("scans", Path.cwd() / "scans/../scans/a.png", "-o", "scans/coloured")
    assert (said.out, said.err) == ("colorize: 1 coloured, in scans/coloured\n", "")
    draw("scans/b.png")
    assert colorize("scans", "-o", "scans/coloured").out.startswith("colorize: 1 coloured")
    assert names_in("scans") == ["a.png", "b.png", "coloured/a.png", "coloured/b.png"]
