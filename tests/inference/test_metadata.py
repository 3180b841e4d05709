"""Orientation and colour profile of a coloured picture, and EXIF that is damaged."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import (
    CASES,
    HEIGHT,
    WIDTH,
    Colorize,
    chroma,
    colored,
    draw,
    encoded,
    exif_with_thumbnail,
    gray,
    lightness_off,
    linear_profile,
    pixels,
)
from PIL import Image, ImageCms, ImageOps

from colorgan.color import srgb_from_linear

MADE, TAKEN, ORIENTATION = 0x10F, 0x9003, 0x112
TURNED = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'


def exif(orientation: int = 1) -> Image.Exif:
    data = Image.Exif()
    data[MADE], data[ORIENTATION] = "Leica", orientation
    data.get_ifd(0x8769)[TAKEN] = "1931:06:01 12:00:00"
    return data


@pytest.mark.parametrize(
    ("of", "options"),
    [
        ("a.jpg", {"exif": exif(6), "xmp": TURNED}),
        ("a.webp", {"xmp": TURNED}),
        ("a.tif", {"tiffinfo": {ORIENTATION: 6, 700: TURNED}}),
    ],
)
@pytest.mark.parametrize("into", ["jpeg", "png", "webp", "tiff", "avif"])
def test_xmp_does_not_turn_a_picture_again(
    colorize: Colorize, of: str, options: dict[str, Any], into: str
) -> None:
    """Pillow and others take the orientation of XMP where EXIF has none."""
    with Image.open(colored(colorize, draw(of, **options), "--format", into)) as after:
        assert ImageOps.exif_transpose(after).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("orientation", "way_back"),
    [(2, "FLIP_LEFT_RIGHT"), (5, "TRANSPOSE"), (6, "ROTATE_90"), (7, "TRANSVERSE"), (9, None)],
)
def test_pixels_stay_as_they_lie_with_their_orientation(
    colorize: Colorize, orientation: int, way_back: str | None
) -> None:
    upright = pixels(colored(colorize, draw("upright.png")))
    Path("out/upright.png").unlink()
    lying = Image.fromarray(gray())
    if way_back:
        lying = lying.transpose(Image.Transpose[way_back])
    result = colored(colorize, draw("a.png", lying, exif=exif(orientation)))
    with Image.open(result) as after:
        assert after.getexif()[ORIENTATION] == orientation
        turned = np.asarray(ImageOps.exif_transpose(after).convert("RGB"))
    # The network sees the upright picture: the same colours, but for rounding.
    assert np.abs(turned.astype(int) - upright).mean() < 1.5
    assert lightness_off(np.asarray(lying), pixels(result)) <= 1


@pytest.mark.parametrize(("source", "format"), [("a.tif", "keep"), ("a.jpg", "bmp")])
def test_what_has_no_orientation_is_upright(colorize: Colorize, source: str, format: str) -> None:
    """Pillow turns a TIFF when it reads it; a BMP has nowhere to say how it lies."""
    lying = Image.fromarray(gray()).transpose(Image.Transpose.ROTATE_90)
    result = colored(colorize, draw(source, lying, exif=exif(6)), "--format", format)
    with Image.open(result) as after:
        assert after.size == (WIDTH, HEIGHT)
        assert after.getexif().get(ORIENTATION, 1) == 1
    assert lightness_off(gray(), pixels(result)) < (1 if source == "a.tif" else 15)


def profile_name(data: bytes) -> str:
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(data))).strip()


@pytest.mark.parametrize(
    ("kind", "space"),
    [("L", b"GRAY"), ("RGBA", b"RGB "), ("I;16", b"GRAY")],
)
def test_a_profile_is_converted_to_srgb(colorize: Colorize, kind: str, space: bytes) -> None:
    picture, values = CASES[kind]()
    profile = linear_profile(space)
    result = colored(colorize, draw("a.png", picture, icc_profile=profile))
    unit = values / np.float32(255) if values.dtype == np.uint8 else values
    srgb = srgb_from_linear(unit)
    after = pixels(result).copy()
    # Between the darkest bytes of linear light Pillow draws a straight line.
    dark = (unit < 10 / 255) if unit.ndim == 2 else (unit < 10 / 255).any(-1)
    srgb[dark], after[dark] = 0, 0
    assert lightness_off(srgb, after) < 1.5
    with Image.open(result) as image:
        assert profile_name(image.info["icc_profile"]).startswith("sRGB")


def test_a_gray_thumbnail_does_not_stay(colorize: Colorize) -> None:
    thumbnail = encoded(Image.fromarray(gray(16, 12)), "JPEG")
    image = Image.fromarray(gray()).convert("RGB")
    source = draw("a.jpg", image, exif=exif_with_thumbnail(thumbnail))
    assert thumbnail in source.read_bytes()
    result = colored(colorize, source)
    assert thumbnail not in result.read_bytes()
    with Image.open(result) as after:
        assert after.getexif()[MADE] == "Abc"
        assert not after.getexif().get_ifd(1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:20],
        lambda data: b"Exif\0\0" + b"\xff" * 100,
        lambda data: b"x",
        lambda data: data[:14] + b"\xff" * 12 + data[26:],
        lambda data: data.replace(b"1931:06", b"\xff\xfe\0\x01:06"),
    ],
    ids=["cut", "noise", "no EXIF", "wrong tag", "wrong text"],
)
def test_a_damaged_exif_or_profile_stops_nothing(
    colorize: Colorize, damage: Callable[[bytes], bytes]
) -> None:
    draw("a.jpg", exif=damage(exif().tobytes()), icc_profile=b"no profile at all")
    result = colored(colorize, Path("a.jpg"))
    assert chroma(pixels(result)) > 5
    with Image.open(result) as after:
        assert profile_name(after.info["icc_profile"]).startswith("sRGB")


def test_exif_too_long_for_a_jpeg_stops_nothing(colorize: Colorize) -> None:
    long = exif(6)
    long[0x10E] = "x" * 70_000
    source = draw("a.png", exif=long.tobytes())
    result = colored(colorize, source, "--format", "jpeg")
    assert chroma(pixels(result)) > 5
    with Image.open(result) as after:
        assert dict(after.getexif()) == {ORIENTATION: 6}


def test_a_damaged_tag_takes_no_others_with_it(colorize: Colorize) -> None:
    """A number of 64 bits, which EXIF cannot hold, in IFD0 and in the one of Exif."""
    data = exif(6)
    data[0xC350], data.get_ifd(0x8769)[0xC351] = 77777.5, 77777.5
    content = data.tobytes()
    assert content.count(b"\0\x0c") == 2
    draw("a.jpg", exif=content.replace(b"\0\x0c", b"\0\x10"))
    said = colorize("a.jpg", "-o", "out")
    assert "colorize: not kept: damaged EXIF tags in JPEG\n" in said.out
    with Image.open("out/a.jpg") as after:
        assert {*after.getexif()} == {MADE, ORIENTATION, 0x8769}
        assert dict(after.getexif().get_ifd(0x8769)) == {TAKEN: "1931:06:01 12:00:00"}
