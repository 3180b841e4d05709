"""Picture files: decode one, write the coloured picture in its format, and compare the two."""

from __future__ import annotations

import base64
import html
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from string import Template
from typing import IO, Any, Literal

import numpy as np
from PIL import Image

from colorgan.color import UInt8Array
from colorgan.data.decode import UnreadablePhoto, opened
from colorgan.inference.image import Picture, turn_back, uint8
from colorgan.inference.metadata import UPRIGHT_ONLY, Metadata, directory

Comparison = Literal["side", "slider"]
ColoredPage = tuple[Picture, UInt8Array, Metadata]
"""A page, its colours in sRGB `(H, W, 3)`, and its metadata."""

SUFFIX_OF = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "AVIF": ".avif",
}  # fmt: skip
FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG",
    ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".avif": "AVIF",
}  # fmt: skip
WRITTEN_AS = {"MPO": "JPEG", "HEIF": "JPEG", "GIF": "PNG", "JPEG2000": "PNG", "PPM": "PNG"}
"""Formats that are read but not written."""
HOLDS_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF")
LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 65_536}
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0, "optimize": True},
    "WEBP": {"quality": 95, "method": 4, "exact": True},
    "AVIF": {"quality": 95},
}
STRIP_BYTES = 1 << 20
MOST_OF_TIFF = 2**32 - 2**24
"""Bytes of the largest TIFF, with room for the tags of a page."""

SLIDER_PAGE = Path(__file__).with_name("slider.html")
GAP = 8
"""Pixels between the pictures side by side."""
LONGEST_COMPARED = {"side": 32_000, "slider": 1600}


def pages(content: bytes, start: int = 0) -> Iterator[tuple[Picture, Metadata]]:
    """Decode the pages of a TIFF one by one; of another file its first picture.

    Raises:
        UnreadablePhoto: it is no picture, damaged, or larger than `Image.MAX_IMAGE_PIXELS`.
    """
    with opened(content) as found:
        for number, page in enumerate(found[start:], start + 1):
            try:
                picture = Picture.from_page(page)
            except Exception as error:
                if number == 1:
                    raise
                raise UnreadablePhoto(f"page {number} of {len(found)}: {error}") from error
            # After the pixels: texts of a PNG may stand behind them.
            yield picture, Metadata.from_page(page, content, len(found) - number)


def write(file: IO[bytes], pages: Iterable[ColoredPage], format: str) -> None:
    """Write coloured pages with the alpha and metadata of their sources.

    JPEG and BMP have no alpha: the picture is laid over white. In a BMP or an AVIF it stays
    upright. Only a TIFF holds several pages.

    Raises:
        ValueError: a picture is too large for the format.
    """
    if format == "TIFF":
        _write_tiff(file, pages)
        return
    picture, colored, metadata = next(iter(pages))
    if max(colored.shape) > LONGEST_SIDE.get(format, max(colored.shape)):
        raise ValueError(f"the longest side of a {format} is {LONGEST_SIDE[format]} pixels")
    pixels = _as_stored(picture, colored, format)
    options = SAVE_OPTIONS.get(format, {}) | metadata.save_options(format)
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format, **options)


def compare(kind: Comparison, picture: Picture, colored: UInt8Array, title: str) -> bytes:
    """Return a file that shows the picture before and after.

    `side` is a JPEG with both side by side, `slider` a self-contained HTML page with the title.
    """
    images = []
    for pixels in (uint8(picture.pixels), colored):
        image = Image.fromarray(pixels).convert("RGB")
        image.thumbnail((LONGEST_COMPARED[kind],) * 2, Image.Resampling.LANCZOS)
        images.append(image)
    before, after = images
    if kind == "side":
        both = Image.new("RGB", (2 * before.width + GAP, before.height), "white")
        both.paste(before, (0, 0))
        both.paste(after, (before.width + GAP, 0))
        return jpeg(both)
    before_uri, after_uri = (
        "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode() for image in images
    )
    template = Template(SLIDER_PAGE.read_text("utf-8"))
    page = template.substitute(title=html.escape(title), before=before_uri, after=after_uri)
    # A file name may have bytes that are no text.
    return page.encode("utf-8", "replace")


def jpeg(image: Image.Image) -> bytes:
    """Return an image as JPEG, to be looked at."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _write_tiff(file: IO[bytes], pages: Iterable[ColoredPage]) -> None:
    """Write pages as a TIFF, each as soon as it comes.

    Not with Pillow: it makes ASCII of captions, and cannot compress a picture that has EXIF.
    """
    file.write(b"II*\0\0\0\0\0")
    link = 4  # where the place of the next page is noted
    for picture, colored, metadata in pages:
        pixels = np.ascontiguousarray(_as_stored(picture, colored, "TIFF"))
        height, width, channels = pixels.shape
        n_rows = max(1, STRIP_BYTES // (width * channels))
        strips = [
            zlib.compress(pixels[top : top + n_rows].data) for top in range(0, height, n_rows)
        ]
        sizes = [len(strip) for strip in strips]
        tags = metadata.tiff_tags() | {
            256: width, 257: height, 258: (8,) * channels, 259: 8, 262: 2, 277: channels,
            # Pillow adds where the tags end, and there the strips begin.
            273: tuple(accumulate(sizes[:-1], initial=0)), 278: n_rows, 279: tuple(sizes),
        }  # fmt: skip
        if channels == 4:
            tags[338] = 2
        start = file.tell() + file.write(b"\0" * (file.tell() % 2))
        if start + sum(sizes) > MOST_OF_TIFF:
            raise ValueError("its TIFF would have over 4 GB")
        file.writelines([directory(tags).tobytes(start), *strips])
        file.seek(link)
        file.write(struct.pack("<L", start))
        file.seek(0, io.SEEK_END)
        link = start + 2 + 12 * len(tags)


def _as_stored(picture: Picture, colored: UInt8Array, format: str) -> UInt8Array:
    if picture.alpha is not None and format in HOLDS_ALPHA:
        colored = np.dstack((colored, picture.alpha))
    elif picture.alpha is not None:
        image = Image.new("RGB", colored.shape[1::-1], "white")
        image.paste(Image.fromarray(colored), mask=Image.fromarray(picture.alpha))
        colored = np.asarray(image)
    return colored if format in UPRIGHT_ONLY else turn_back(colored, picture.orientation)
