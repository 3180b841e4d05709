"""The command: what it says, what it leaves alone, and what its options do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import (
    Array,
    chroma,
    color,
    draw,
    gray,
    lightness_off,
    names_in,
    pixels,
    python_m_colorgan,
)
from PIL import Image

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


@pytest.mark.parametrize(
    ("inputs", "out"),
    [
        (["scans/a.png"], "scans"),
        (["scans/a.png"], "scans/a.png"),
        (["scans/a.png"], "scans/../scans"),
        (["scans/a.png", "b.png"], "scans"),
        (["other/a.png", "scans/a.png"], "scans"),
        (["scans/a.png"], "link"),
    ],
)
def test_no_input_is_written_over(colorize: Colorize, inputs: list[str], out: str) -> None:
    source = draw("scans/a.png").read_bytes()
    for name in ("other/a.png", "b.png"):
        draw(name, gray()[::-1])
    if out == "link":
        Path("link").symlink_to("scans")
    said = colorize(*inputs, "-o", out, "--overwrite")
    assert said.code == 1
    assert "an input" in said.err
    assert Path("scans/a.png").read_bytes() == source
    assert ("b.png" in inputs) == Path("scans/b.png").exists()


def test_nothing_half_written_stays(colorize: Colorize, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("a.png")
    mine = draw("out/a.png", color()).read_bytes()

    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    said = colorize("a.png", "-o", "out", "--overwrite")
    assert said.code == 1
    assert "out/a.png cannot be written: No space left on device" in said.err
    assert names_in("out") == ["a.png"]
    assert Path("out/a.png").read_bytes() == mine


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 1), (20_000, 3), (3, 20_000), (8, 800), (1, 100), (31, 33), (1300, 900)]
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_odd_sizes_are_coloured(colorize: Colorize, size: tuple[int, int], suffix: str) -> None:
    picture = np.full((1, 1), 120, np.uint8) if size == (1, 1) else gray(*size)
    said = colorize(draw(f"a.{suffix}", picture), "-o", "out")
    assert (said.code, said.err) == (0, "")
    result = pixels(f"out/a.{suffix}")
    assert result.shape == (*picture.shape, 3)
    assert lightness_off(picture, result) <= 1
    assert min(size) < 3 or chroma(result) > 5


@pytest.mark.parametrize(
    "arguments",
    [(), ("-o", "out", "--format", "xcf"), ("-o", "out", "--saturation", "nan"), ("-o", "o", "-x")],
)
def test_wrong_options_are_exit_code_2(colorize: Colorize, arguments: tuple[str, ...]) -> None:
    assert colorize(draw("a.png"), *arguments).code == 2
    assert names_in(".") == ["a.png", *names_in_project()]


def names_in_project() -> list[str]:
    return ["models/lab/config.json", "models/lab/generator.safetensors", "params.yaml"]


@pytest.mark.parametrize("size", ["1", "3", "50"])
def test_the_batch_size_changes_nothing(colorize: Colorize, size: str) -> None:
    for i, shape in enumerate([(40, 30), (40, 30), (30, 60), (40, 30), (64, 64)]):
        draw(f"scans/{i}.png", gray(*shape)[:: -1 if i % 2 else 1])
    assert colorize("scans", "-o", "two", "--batch-size", "2").code == 0
    assert colorize("scans", "-o", "out", "--batch-size", size).code == 0
    for name in (f"{i}.png" for i in range(5)):
        off = np.abs(pixels(f"two/{name}").astype(int) - pixels(f"out/{name}"))
        assert off.max() <= 1
        assert chroma(pixels(f"out/{name}")) > 5


def test_saturation_and_quality(colorize: Colorize) -> None:
    draw("a.png")
    strengths: list[Array] = []
    for saturation in ("0", "0.5", "1", "2"):
        assert colorize("a.png", "-o", f"{saturation}.png", "--saturation", saturation).code == 0
        strengths.append(pixels(f"{saturation}.png"))
    assert chroma(strengths[0]) < 0.05
    for weaker, stronger in pairwise(strengths):
        assert chroma(stronger) > 1.3 * chroma(weaker)
    for quality in ("20", "95"):
        assert colorize("a.png", "-o", f"{quality}.jpg", "--quality", quality).code == 0
    assert Path("20.jpg").stat().st_size < 0.7 * Path("95.jpg").stat().st_size


def test_a_photo_of_a_camera_as_tiff_has_no_traceback(model: Path) -> None:
    data = Image.Exif()
    data.get_ifd(0x8769)[0x9003] = "1931:06:01 12:00:00"
    draw("scans/a.jpg", exif=data)
    draw("scans/b.jpg")
    arguments = ("--model", str(model), "--format", "tiff")
    ended = python_m_colorgan("colorize", "scans", "-o", "out", *arguments)
    assert "Traceback" not in ended.stderr
    assert names_in("out") == ["a.tif", "b.tif"]
    assert ended.returncode == 0


def test_the_bundled_model_colours_by_itself(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    photo = sorted((root / "data/sample").glob("*/*.webp"))[0]
    with Image.open(photo) as image:
        draw("a.png", image.convert("L").resize((160, 120)))
    (project / "models").symlink_to(root / "models")
    ended = python_m_colorgan("colorize", "a.png", "-o", "out")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "colorize: 1 coloured, in out\n"
    assert lightness_off(np.asarray(Image.open("a.png")), pixels("out/a.png")) <= 1
    assert chroma(pixels("out/a.png")) > 5
