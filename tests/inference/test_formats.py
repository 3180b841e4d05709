"""What a coloured picture keeps: size, format, lightness, alpha."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import (
    CASES,
    HEIGHT,
    WIDTH,
    Colorize,
    alpha,
    chroma,
    color,
    colored,
    draw,
    gray,
    gray16,
    lightness_off,
    pixels,
)
from PIL import Image


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *[("png", kind) for kind in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[("tif", kind) for kind in CASES],
        *[("bmp", kind) for kind in ("L", "P")],
    ],
)
def test_size_format_and_lightness_stay(colorize: Colorize, suffix: str, kind: str) -> None:
    image, srgb = CASES[kind]()
    result = colored(colorize, draw(f"a.{suffix}", image))
    with Image.open(f"a.{suffix}") as before, Image.open(result) as after:
        assert after.format == before.format
        assert after.size == before.size == (WIDTH, HEIGHT)
        assert after.mode == ("RGBA" if kind.endswith("A") else "RGB")
    assert result.name == f"a.{suffix}"
    assert lightness_off(srgb, pixels(result)) <= 1
    # Black and white have no colour.
    assert kind == "1" or chroma(pixels(result)) > 5


@pytest.mark.parametrize(
    ("suffix", "format", "kind"),
    [
        *[("jpg", "JPEG", kind) for kind in ("L", "RGB", "CMYK")],
        *[("webp", "WEBP", kind) for kind in ("L", "RGB")],
    ],
)
def test_lossy_formats_stay_close(colorize: Colorize, suffix: str, format: str, kind: str) -> None:
    values = np.asarray(Image.fromarray(gray(9, 7)).resize((90, 70)))
    image = Image.fromarray(values).convert("RGB").convert(kind)
    result = colored(colorize, draw(f"a.{suffix}", image, quality=100))
    with Image.open(result) as after:
        assert (after.format, after.size, after.mode) == (format, (90, 70), "RGB")
    # Also where a CMYK JPEG is inverted, as Adobe writes it.
    assert np.abs(pixels(f"a.{suffix}").mean((0, 1)).mean() - values.mean()) < 3
    assert lightness_off(pixels(f"a.{suffix}"), pixels(result)) < 12
    assert chroma(pixels(result)) > 5


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("png", "png"), ("jpeg", "jpg"), ("webp", "webp"), ("tiff", "tif"), ("bmp", "bmp")],
)
@pytest.mark.parametrize("source", ["a.JPEG", "a.gif"])
def test_another_format_on_request(
    colorize: Colorize, source: str, format: str, suffix: str
) -> None:
    result = colored(colorize, draw(source), "--format", format)
    same = Image.registered_extensions()[Path(source).suffix.lower()] == format.upper()
    assert result.name == (source if same else f"a.{suffix}")
    with Image.open(result) as image:
        assert (image.format, image.mode) == (format.upper(), "RGB")
    assert chroma(pixels(result)) > 5


@pytest.mark.parametrize("kind", ["LA", "RGBA", "P", "RGB"])
@pytest.mark.parametrize("format", ["png", "webp", "tiff"])
def test_alpha_stays(colorize: Colorize, format: str, kind: str) -> None:
    options: dict[str, Any] = {}
    image, wanted = CASES[kind]()[0], alpha()
    if kind == "P":
        options = {"transparency": 3}
        wanted = np.where(np.asarray(image) == 3, 0, 255)
    elif kind == "RGB":
        options = {"transparency": tuple(map(int, color()[0, 0]))}
        wanted = np.where((color() == color()[0, 0]).all(-1), 0, 255)
    result = colored(colorize, draw("a.png", image, **options), "--format", format)
    with Image.open(result) as after:
        assert after.mode == "RGBA"
        assert (np.asarray(after)[..., 3] == wanted).all()


def test_a_transparent_value_of_sixteen_bits_stays(colorize: Colorize) -> None:
    image, _ = gray16()
    value = int(np.asarray(image)[5, 5])
    result = colored(colorize, draw("a.png", image, transparency=value))
    with Image.open(result) as after:
        wanted = np.where(np.asarray(image) == value, 0, 255)
        assert (np.asarray(after.convert("RGBA"))[..., 3] == wanted).all()


@pytest.mark.parametrize("format", ["jpeg", "bmp"])
def test_what_holds_no_alpha_has_white_where_the_picture_was_transparent(
    colorize: Colorize, format: str
) -> None:
    """A BMP could hold alpha, but not as Pillow writes and reads it."""
    clear = np.where(np.arange(WIDTH) < 24, 0, 255).astype(np.uint8) * np.ones((HEIGHT, 1), "u1")
    source = draw("a.png", Image.fromarray(np.dstack([*[gray() // 2] * 3, clear])))
    with Image.open(colored(colorize, source, "--format", format)) as image:
        shown = image.convert("RGBA")
    white = Image.new("RGBA", shown.size, "white")
    result = np.asarray(Image.alpha_composite(white, shown).convert("RGB"))
    assert result[:, :16].min() > 245
    assert result[:, 32:].mean() < 130
    assert chroma(result[:, 32:]) > 3


def test_of_several_frames_the_first_becomes_a_png(colorize: Colorize) -> None:
    frames = [Image.fromarray(gray()[::-1]), Image.fromarray(gray() // 3)]
    draw("a.gif", Image.fromarray(gray()), save_all=True, append_images=frames)
    result = colored(colorize, Path("a.gif"))
    assert result.name == "a.png"
    with Image.open(result) as after:
        assert (after.format, getattr(after, "n_frames", 1)) == ("PNG", 1)
    assert lightness_off(gray(), pixels(result)) <= 1


def test_an_mpo_becomes_a_jpeg(colorize: Colorize) -> None:
    name = "a.mpo"
    second = [Image.fromarray(gray() // 3)]
    draw(name, Image.fromarray(gray()), format="MPO", save_all=True, append_images=second)
    with Image.open(name) as before:
        assert before.format == "MPO"
    result = colored(colorize, Path(name))
    assert result.name == "a.jpg"
    with Image.open(result) as after:
        assert (after.format, after.size) == ("JPEG", (WIDTH, HEIGHT))
    assert chroma(pixels(result)) > 5
