"""What is coloured and where to: files, folders, patterns, names of all kinds."""

from __future__ import annotations

import os
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
        ("scans/195?/*", ["1950/b.png", "1951/c.png", "1951/d.jpg"]),
        ("**/d.*", ["scans/1951/d.jpg"]),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_pattern_keeps_the_structure_below_its_fixed_part(
    colorize: Colorize, pattern: str, names: list[str], absolute: bool
) -> None:
    for name in ("a.png", "1950/b.png", "1951/c.png", "1951/d.jpg"):
        draw(f"scans/{name}")
    assert colorize(Path.cwd() / pattern if absolute else pattern, "-o", "out").code == 0
    assert names_in("out") == names


@pytest.mark.parametrize(
    "name",
    [
        "Großmutter 1931.png",
        "写真 1.png",
        "a'b\"c.png",
        "-x.png",
        "e\u0301.png",
    ],
)
def test_names_of_all_kinds(colorize: Colorize, name: str) -> None:
    draw(f"alte Bilder/{name}")
    said = colorize("alte Bilder", "-o", "in Farbe ü")
    assert (said.code, said.err) == (0, "")
    assert names_in("in Farbe ü") == [name]


@pytest.mark.parametrize("name", ["a[1].png", "what?.png"])
def test_a_file_whose_name_could_be_a_pattern(colorize: Colorize, name: str) -> None:
    draw(name)
    assert colorize(name, "-o", "out").code == 0
    assert names_in("out") == [name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has shorter paths")
def test_a_name_as_long_as_the_system_allows(colorize: Colorize) -> None:
    name = "n" * 251 + ".png"
    draw(name)
    said = colorize(name, "-o", "out")
    assert (said.code, said.err) == (0, "")
    assert names_in("out") == [name]


@pytest.mark.parametrize(
    ("name", "format", "result"),
    [
        ("scan", "PNG", "scan.png"),
        ("in fact a png.jpg", "PNG", "in fact a png.png"),
        ("letters.jpeg", "JPEG", "letters.jpeg"),
        # What follows the dot is no suffix of a picture, but a part of the name.
        ("Foto Nr. 1", "JPEG", "Foto Nr. 1.jpg"),
        ("holiday.2020", "PNG", "holiday.2020.png"),
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


def test_what_lies_in_the_folder_of_results_is_no_input(colorize: Colorize) -> None:
    draw("scans/a.png")
    assert colorize("scans", "-o", "scans/coloured").code == 0
    draw("scans/b.png")
    said = colorize("scans", "-o", "scans/coloured")
    assert said.out.startswith("colorize: 1 coloured")
    assert names_in("scans") == ["a.png", "b.png", "coloured/a.png", "coloured/b.png"]


@pytest.mark.parametrize("what", ["scans", "scans/a.png"])
def test_results_may_go_to_the_working_directory(colorize: Colorize, what: str) -> None:
    source = draw("scans/a.png").read_bytes()
    said = colorize(what, "-o", ".")
    assert (said.code, said.err) == (0, "")
    assert chroma(pixels("a.png")) > 5
    assert Path("scans/a.png").read_bytes() == source


@pytest.mark.parametrize("again", ["a.png", "scans/../a.png", "{cwd}/a.png"])
def test_a_file_named_twice_is_coloured_once(colorize: Colorize, again: str) -> None:
    draw("a.png")
    Path("scans").mkdir()
    said = colorize("a.png", again.format(cwd=Path.cwd()), "-o", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out == "colorize: 1 coloured, in out\n"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("missing.png", "missing.png: it does not exist"),
        ("nothing/*.png", "nothing/*.png"),
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
    ("out", "format"), [("new/b.jpg", "JPEG"), ("b.PNG", "PNG"), ("b.tiff", "TIFF")]
)
def test_a_single_picture_may_go_to_a_file(colorize: Colorize, out: str, format: str) -> None:
    said = colorize(draw("a.png"), "-o", out)
    assert (said.code, said.out) == (0, f"colorize: 1 coloured, in {out}\n")
    with Image.open(out) as image:
        assert image.format == format


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "b.gif"), "-o b.gif: .gif is not written; it should be one of .jpg, "),
        (("-o", "b.jpg", "--format", "png"), "-o b.jpg is a JPEG by its suffix and --format says"),
    ],
)
def test_a_file_name_that_does_not_fit_the_format(
    colorize: Colorize, arguments: tuple[str, ...], sentence: str
) -> None:
    said = colorize(draw("a.png"), *arguments)
    assert said.code == 1
    assert said.err.startswith(f"colorgan: {sentence}")


def test_several_pictures_do_not_fit_a_file(colorize: Colorize) -> None:
    draw("a.png")
    draw("b.png")
    Path("c.png").write_bytes(b"mine")
    said = colorize("a.png", "b.png", "-o", "c.png")
    assert said.code == 1
    assert said.err.startswith("colorgan: -o c.png is a file; for several pictures it should be a")
    assert Path("c.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        ("x/a.png", "y/a.gif", ()),
        ("x/a.jpg", "x/a.png", ("--format", "webp")),
    ],
)
def test_two_that_become_one_file(
    colorize: Colorize, first: str, second: str, options: tuple[str, ...]
) -> None:
    draw(first)
    draw(second, gray()[::-1])
    draw("other.png")
    said = colorize(first, second, "other.png", "-o", "out", *options)
    assert said.code == 1
    assert said.out == "colorize: 2 coloured, in out\n"
    [line, count] = said.err.splitlines()
    assert first in line
    assert line.startswith(f"colorgan: {second}: ")
    assert count == "colorgan: 1 could not be coloured"
    assert len(names_in("out")) == 2


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
@pytest.mark.parametrize("options", [(), ("--compare", "slider")])
def test_a_name_that_is_no_text(colorize: Colorize, options: tuple[str, ...]) -> None:
    Path("scans").mkdir()
    try:
        with open(b"scans/\xff.png", "wb") as file:  # noqa: PTH123 - no path has such a name
            file.write(encoded(Image.fromarray(gray()), "PNG"))
    except OSError:
        pytest.skip("this file system wants text")
    said = colorize("scans", "-o", "out", *options)
    assert (said.code, said.err) == (0, "")
    assert [os.fsencode(path.name) for path in Path("out").glob("*.png")] == [b"\xff.png"]
