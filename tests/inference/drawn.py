"""Pictures to be coloured, and what a coloured one is held against."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorgan.color import FloatArray, lightness_from_srgb
from colorgan.inference.metadata import srgb_profile
from colorgan.spaces import get_space

SIDE = 32
WIDTH, HEIGHT = 56, 40
Array = npt.NDArray[Any]
Colorize = Callable[..., Any]
Case = tuple[Image.Image, Array]


def gray(width: int = WIDTH, height: int = HEIGHT) -> Array:
    """A gray ramp with noise, from black to white, no two sides alike."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, width)[None] * 0.7 + np.linspace(0, 1, height)[:, None] ** 2 * 0.3
    noisy = ramp * 275 - 10 + rng.normal(0, 12, (height, width))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def color(width: int = WIDTH, height: int = HEIGHT) -> Array:
    """Noise in all colours."""
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def alpha(width: int = WIDTH, height: int = HEIGHT) -> Array:
    """From transparent to opaque."""
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def palette() -> Image.Image:
    return Image.fromarray(color()).quantize(200)


def float_gray() -> Case:
    unit = np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH)
    return Image.fromarray(unit), unit


def gray16() -> Case:
    values = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    return Image.fromarray(values), values / np.float32(65535)


def cmyk() -> Case:
    image = Image.fromarray(np.dstack((color() // 2, gray() // 2)), "CMYK")
    return image, np.asarray(image.convert("RGB"))


CASES: dict[str, Callable[[], Case]] = {
    "1": lambda: (Image.fromarray(gray()).convert("1", dither=0), (gray() > 127) * np.uint8(255)),
    "L": lambda: (Image.fromarray(gray()), gray()),
    "LA": lambda: (Image.fromarray(np.dstack((gray(), alpha()))), gray()),
    "P": lambda: (palette(), np.asarray(palette().convert("RGB"))),
    "RGB": lambda: (Image.fromarray(color()), color()),
    "RGBA": lambda: (Image.fromarray(np.dstack((color(), alpha()))), color()),
    "I;16": gray16,
    "CMYK": cmyk,
    "F": float_gray,
}
"""Pictures of a mode, and how they look: sRGB, or gray, as uint8 or in 0..1."""


def draw(path: Path | str, picture: Array | Image.Image | None = None, **options: Any) -> Path:
    """Write a picture, the gray one if none is given, with the folders above it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = gray() if picture is None else picture
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return path


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """Encode a picture in memory."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(path: Path | str) -> Array:
    """Return the RGB of a file, laid out as it is there."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def chroma(rgb: Array) -> float:
    """Return how far from gray a picture is, in units of a byte."""
    return float(np.mean(rgb.max(-1).astype(int) - rgb.min(-1)))


def lightness_off(before: Array, after: Array) -> float:
    """Return the largest difference in L of two pictures, gray or RGB."""
    return float(np.abs(lightness_from_srgb(before) - lightness_from_srgb(after)).max())


def names_in(folder: Path | str) -> list[str]:
    """Return all files below a folder, hidden ones too, by their names in it."""
    folder = Path(folder)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def colored(colorize: Colorize, source: Path, *options: str) -> Path:
    """Colour a file and return the one result."""
    said = colorize(source, "-o", "out", *options)
    assert (said.code, said.err) == (0, "")
    [name] = names_in("out")
    return Path("out") / name


def linear_profile(space: bytes) -> bytes:
    """Return an ICC profile, `GRAY` or `RGB `, in which the values are light itself."""
    linear = re.sub(rb"para\0{4}.{24}", b"curv" + bytes(28), srgb_profile(), flags=re.DOTALL)
    return linear.replace(b"rTRC", b"kTRC" if space == b"GRAY" else b"rTRC").replace(b"RGB ", space)


def exif_with_thumbnail(thumbnail: bytes) -> bytes:
    """Return EXIF data with a make and, in the second directory, a JPEG."""
    make = struct.pack("<2sHI", b"II", 42, 8)
    make += struct.pack("<HHHI4sI", 1, 0x10F, 2, 4, b"Abc\0", 26)
    second = struct.pack("<H", 3) + struct.pack("<HHII", 0x103, 3, 1, 6)
    second += struct.pack("<HHIIHHII", 513, 4, 1, 68, 514, 4, 1, len(thumbnail)) + bytes(4)
    return b"Exif\0\0" + (make + second) + thumbnail


class Orange:
    """A network that finds everything orange, and remembers what it was given."""

    space, image_size, multiple, name = get_space("lab"), 32, 32, "orange"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, input: FloatArray) -> FloatArray:
        self.shapes.append(input.shape)
        ab = np.array([30, 40], np.float32) / 110
        return np.broadcast_to(ab[:, None, None], (len(input), 2, *input.shape[2:])).copy()
