"""What a coloured picture keeps: size, format, lightness, alpha."""

from __future__ import annotations

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
    lightness_off,
    pixels,
)
from PIL import Image


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *[("png", kind) for kind in ("1", "L", "LA", "P", "RGBA", "I;16")],
        *[("tif", kind) for kind in ("L", "RGB", "I;16", "CMYK", "F")],
        ("bmp", "L"),
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
        ("jpg", "JPEG", "L"),
        ("jpg", "JPEG", "CMYK"),
        ("webp", "WEBP", "RGB"),
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
    ("format", "kind"),
    [("png", "LA"), ("webp", "RGBA"), ("tiff", "P"), ("png", "RGB"), ("png", "I;16")],
)
def test_alpha_stays(colorize: Colorize, format: str, kind: str) -> None:
    options: dict[str, Any] = {}
    image, wanted = CASES[kind]()[0], alpha()
    if kind == "P":
        options = {"transparency": 3}
        wanted = np.where(np.asarray(image) == 3, 0, 255)
    elif kind == "RGB":
        options = {"transparency": tuple(map(int, color()[0, 0]))}
        wanted = np.where((color() == color()[0, 0]).all(-1), 0, 255)
    elif kind == "I;16":
        values = np.asarray(image)
        options = {"transparency": int(values[5, 5])}
        wanted = np.where(values == values[5, 5], 0, 255)
    result = colored(colorize, draw("a.png", image, **options), "--format", format)
    with Image.open(result) as after:
        assert after.mode == "RGBA"
        assert (np.asarray(after)[..., 3] == wanted).all()


def test_a_jpeg_has_white_where_the_picture_was_transparent(colorize: Colorize) -> None:
    clear = np.where(np.arange(WIDTH) < 24, 0, 255).astype(np.uint8) * np.ones((HEIGHT, 1), "u1")
    source = draw("a.png", Image.fromarray(np.dstack([*[gray() // 2] * 3, clear])))
    result = pixels(colored(colorize, source, "--format", "jpeg"))
    assert result[:, :16].min() > 245
    assert result[:, 32:].mean() < 130
    assert chroma(result[:, 32:]) > 3
