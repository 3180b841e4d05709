"""What is coloured and where to: files, folders, patterns, names of all kinds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import chroma, draw, gray, names_in, pixels
from PIL import Image

from colorgan.inference import plan

Colorize = Callable[..., Any]


def test_a_folder_keeps_its_structure(colorize: Colorize) -> None:
    for name in ("a.png", "1950/b.jpg", "1950/Sommer am Meer/c.tif", "1950/D.JPG"):
        draw(f"scans/{name}")
    Path("scans/1950/notes.txt").write_text("no picture")
    Path("scans/empty").mkdir()
    said = colorize("scans", "-o", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "colorize: 4 coloured, in out\ncolorize: 1 left out: suffix not read: .txt\n"
    )
    assert names_in("out") == ["1950/D.JPG", "1950/Sommer am Meer/c.tif", "1950/b.jpg", "a.png"]
    assert all(chroma(pixels(Path("out") / name)) > 5 for name in names_in("out"))


def test_every_file_is_coloured_counted_or_named(colorize: Colorize) -> None:
    """As network drives and Macs leave a folder, with links, a pipe and a link to nothing."""
    for name in ("a.png", "._a.png", "@eaDir/a.png/XL.png", ".thumbnails/1.png", "far/b.png"):
        draw(f"scans/{name}" if name != "far/b.png" else name)
    for name in ("notes.txt", "more.txt", "clip.mp4"):
        Path("scans", name).touch()
    Path("scans/link.png").symlink_to("a.png")
    Path("scans/gone.png").symlink_to("nowhere")
    Path("scans/far").symlink_to("../far")
    Path("scans/same far").symlink_to("../far")
    Path("far/loop").symlink_to("../scans")
    os.mkfifo("scans/pipe.png")
    said = colorize("scans", "-o", "out")
    assert said.code == 1
    assert names_in("out") == ["a.png", "far/b.png", "link.png", "same far/b.png"]
    assert sorted(said.out.splitlines()) == [
        "colorize: 1 left out: a folder of the system: @eaDir",
        "colorize: 1 left out: a hidden file",
        "colorize: 1 left out: a hidden folder: .thumbnails",
        "colorize: 1 left out: suffix not read: .mp4",
        "colorize: 2 left out: a link to a folder above it: loop",
        "colorize: 2 left out: suffix not read: .txt",
        "colorize: 4 coloured, in out",
    ]
    assert said.err.splitlines() == [
        "colorgan: scans/gone.png: unreadable: a broken link",
        "colorgan: scans/pipe.png: unreadable: not a regular file",
        "colorgan: 2 could not be coloured",
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("scans/**/*.png", ["1950/b.png", "[1951]/c.png", "a.png"]),
        ("scans/19*", ["1950/b.png"]),
        ("scans/[1951]/*.jpg", ["d.jpg"]),
        ("**/d.*", ["scans/[1951]/d.jpg"]),
        ("*/[1951]/?.png", ["scans/[1951]/c.png"]),
    ],
)
def test_a_pattern_keeps_the_structure_below_its_fixed_part(
    colorize: Colorize, pattern: str, names: list[str]
) -> None:
    for name in ("a.png", "1950/b.png", "1950/.b.png", "[1951]/c.png", "[1951]/d.jpg"):
        draw(f"scans/{name}")
    for given in (pattern, Path.cwd() / pattern):
        said = colorize(given, "-o", "out")
        assert (said.code, said.err) == (0, "")
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


def test_a_result_whose_name_is_too_long_fails_alone(colorize: Colorize) -> None:
    draw("scans/" + "n" * 252, format="PNG")
    draw("scans/" + "n" * 250 + ".png")
    draw("scans/a.png")
    said = colorize(*Path("scans").iterdir(), "-o", "out", "--compare", "side")
    assert said.out == "colorize: 1 coloured, in out\n"
    assert said.err.count("cannot be written: File name too long") == 2
    assert names_in("out") == ["a.png", "a_compare.jpg"]


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


def test_an_input_with_nothing_in_it_stops_nothing_else(colorize: Colorize) -> None:
    nothing = "no picture there; it should be a picture, a folder of pictures, or a pattern such "
    sentences = dict.fromkeys(("missing.png", "empty", "empty/*.png", '""'), nothing) | {
        300 * "x": "File name too long",
        "pipe": "unreadable: not a regular file",
        "broken": "unreadable: a broken link",
    }
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no picture")
    os.mkfifo("pipe")
    Path("broken").symlink_to("nowhere")
    draw("good.png")
    said = colorize("good.png", *(bad.strip('"') for bad in sentences), "-o", "out")
    assert said.code == 1
    for bad, sentence in sentences.items():
        assert f"colorgan: {bad}: {sentence}" in said.err
    assert names_in("out") == ["good.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("a.png", "-o", "b.heic"), "-o b.heic: it should end with .jpg, .jpeg, .jpe, .jfif, "),
        (("a.png", "-o", "b.jxl"), "-o b.jxl: it should end with .jpg, "),
        (("a.png", "-o", "mine"), "-o mine: it should end with .jpg, "),
        (("a.png", "b.png", "-o", "c.png"), "-o c.png is the name of a file; for several pictures"),
        (("a.png", "-o", "b.jpg", "--format", "png"),
         "-o b.jpg and --format png: it should end with .png, or be a folder that exists"),
        (("a.png", "b.png", "-o", "mine"), "-o mine is the name of a file; for several pictures "),
        (("a.png", "-o", "mine/below/a.png"), "-o mine/below cannot be written to"),
    ],
)  # fmt: skip
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


@pytest.mark.parametrize(("ignores_case", "n"), [(False, 2), (True, 1)])
def test_names_that_differ_in_case(
    colorize: Colorize, monkeypatch: pytest.MonkeyPatch, ignores_case: bool, n: int
) -> None:
    """Are one file where the file system ignores case, and would replace each other."""
    draw("x/a.png")
    draw("y/A.gif", gray()[::-1])
    prepare = plan._prepare_folder
    monkeypatch.setattr(plan, "_prepare_folder", lambda folder: prepare(folder) or ignores_case)
    said = colorize("x/a.png", "y/A.gif", "-o", "out")
    assert said.out == f"colorize: {n} coloured, in out\n"
    assert ("x/a.png becomes out/A.png already" in said.err) == ignores_case


def test_names_that_are_no_text_or_no_line(colorize: Colorize) -> None:
    name = os.fsdecode(b"\xff\n\x1b[2J.png")
    try:
        draw("scans/good.png").rename(f"scans/{name}")
    except OSError:
        pytest.skip("this file system wants text")
    said = colorize("scans", "-o", "out", "--compare", "slider")
    assert (said.code, said.err) == (0, "")
    assert [path.name for path in Path("out").glob("*.png")] == [name]
    said = colorize("scans", "-o", "scans")
    assert said.err.splitlines()[0].startswith(r"colorgan: scans/\udcff\n\x1b[2J.png: it would be")


def test_a_picture_is_coloured_once(colorize: Colorize) -> None:
    """Whether it is named twice, or lies among the results, which are no inputs."""
    draw("scans/a.png")
    said = colorize("scans", Path.cwd() / "scans/../scans/a.png", "-o", "scans/coloured")
    assert (said.out, said.err) == ("colorize: 1 coloured, in scans/coloured\n", "")
    draw("scans/b.png")
    assert colorize("scans", "-o", "scans/coloured").out == (
        "colorize: 1 coloured, in scans/coloured\n"
        "colorize: 1 were there already; --overwrite makes them anew\n"
        "colorize: 1 left out: in the folder of the results\n"
    )
    assert names_in("scans") == ["a.png", "b.png", "coloured/a.png", "coloured/b.png"]
