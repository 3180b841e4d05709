"""Picture files: decode one, encode the coloured picture in its format, and compare the two."""

from __future__ import annotations

import base64
import html
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import IO, Any, Literal

import numpy as np
from PIL import Image

from colorgan.color import UInt8Array, uint8_from_unit
from colorgan.data.decode import UnreadablePhoto, opened
from colorgan.inference.image import Picture, turn_upright
from colorgan.inference.metadata import Metadata, directory

Comparison = Literal["side", "slider"]

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
    "JPEG": {"subsampling": 0, "optimize": True},
    "WEBP": {"method": 4, "exact": True},
}
STRIP_BYTES = 1 << 20
MOST_OF_TIFF = 2**32 - 2**24
"""Bytes of the largest TIFF, with room for the tags of a page."""

GAP = 8
"""Pixels between the pictures side by side."""
LONGEST_SIDE_BY_SIDE = 32_000
LONGEST_ON_PAGE = 1600


def written_as(format: str | None) -> str:
    """Return the format in which a picture that was read as `format` is written."""
    return WRITTEN_AS.get(format or "", format or "")


def decode(content: bytes) -> tuple[Picture, Metadata]:
    """Decode a picture file, its first full-size page if it has several.

    Raises:
        UnreadablePhoto: it is no picture, damaged, or larger than `Image.MAX_IMAGE_PIXELS`.
    """
    return next(pages(content))


def pages(content: bytes, start: int = 0) -> Iterator[tuple[Picture, Metadata]]:
    """Decode the pages of a TIFF one by one; of another file its first picture.

    Raises:
        UnreadablePhoto: as `decode`.
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
            yield picture, Metadata.from_page(page, len(found) - number)


def encode(
    picture: Picture, colored: UInt8Array, metadata: Metadata, format: str, quality: int
) -> bytes:
    """Encode one coloured picture; see `write`."""
    buffer = io.BytesIO()
    write(buffer, [(picture, colored, metadata)], format, quality)
    return buffer.getvalue()


def write(
    file: IO[bytes],
    pages: Iterable[tuple[Picture, UInt8Array, Metadata]],
    format: str,
    quality: int,
) -> None:
    """Write coloured pictures `(H, W, 3)` with the alpha and metadata of their sources.

    JPEG and BMP have no alpha: the picture is laid over white. BMP has no orientation: the picture
    is turned upright.

    Args:
        file: a new file, open to write bytes.
        pages: source, colours in sRGB, and metadata of the source; only a TIFF holds several.
        format: of SUFFIX_OF.
        quality: of JPEG, WebP and AVIF, 1 to 100.

    Raises:
        ValueError: a picture is too large for the format.
    """
    if format == "TIFF":
        _write_tiff(file, pages)
        return
    picture, colored, metadata = next(iter(pages))
    if max(colored.shape) > (longest := LONGEST_SIDE.get(format, max(colored.shape))):
        raise ValueError(f"its longest side is {longest} pixels")
    pixels = _with_alpha(picture, colored, format)
    if format == "BMP":
        pixels = turn_upright(pixels, picture.orientation)
    options = SAVE_OPTIONS.get(format, {}) | metadata.save_options(format)
    if format in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format, **options)


def compare(kind: Comparison, picture: Picture, colored: UInt8Array, title: str) -> bytes:
    """Return a file that shows the picture before and after, both upright.

    Args:
        kind: `side` for a JPEG with both side by side, `slider` for a self-contained HTML page.
        picture: the source.
        colored: its colours, `(H, W, 3)`.
        title: of the page.
    """
    before, after = _before_and_after(picture, colored)
    if kind == "side":
        before, after = (_shrunk(pixels, LONGEST_SIDE_BY_SIDE) for pixels in (before, after))
        gap = np.full((before.shape[0], GAP, 3), 255, np.uint8)
        return _jpeg(np.concatenate((before, gap, after), axis=1))
    before_uri, after_uri = (
        "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        for jpeg in previews(picture, colored)
    )
    page = SLIDER_PAGE.format(title=html.escape(title), before=before_uri, after=after_uri)
    # A file name may have bytes that are no text.
    return page.encode("utf-8", "replace")


def previews(picture: Picture, colored: UInt8Array) -> tuple[bytes, bytes]:
    """Return before and after as JPEGs for a page, upright, at most LONGEST_ON_PAGE long."""
    before, after = _before_and_after(picture, colored)
    return _jpeg(_shrunk(before, LONGEST_ON_PAGE)), _jpeg(_shrunk(after, LONGEST_ON_PAGE))


def _write_tiff(file: IO[bytes], pages: Iterable[tuple[Picture, UInt8Array, Metadata]]) -> None:
    """Write pages as a TIFF, each as soon as it comes.

    Not with Pillow: it makes ASCII of captions, and cannot compress a picture that has EXIF.
    """
    file.write(b"II*\0\0\0\0\0")
    link = 4  # where the place of the next page is noted
    for picture, colored, metadata in pages:
        pixels = np.ascontiguousarray(_with_alpha(picture, colored, "TIFF"))
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


def _with_alpha(picture: Picture, colored: UInt8Array, format: str) -> UInt8Array:
    if picture.alpha is None:
        return colored
    if format in HOLDS_ALPHA:
        return np.dstack((colored, picture.alpha))
    return _over_white(colored, picture.alpha)


def _over_white(colored: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    share = alpha[..., None].astype(np.float32) / 255
    return (colored * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def _before_and_after(picture: Picture, colored: UInt8Array) -> tuple[UInt8Array, UInt8Array]:
    before: Any = picture.pixels
    if before.dtype != np.uint8:
        before = uint8_from_unit(before)
    if before.ndim == 2:
        before = np.repeat(before[..., None], 3, axis=-1)
    upright = (turn_upright(pixels, picture.orientation) for pixels in (before, colored))
    return next(upright), next(upright)


def _shrunk(pixels: UInt8Array, longest: int) -> UInt8Array:
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _jpeg(pixels: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


SLIDER_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-content: center; background: #1b1c1f;
         color: #d6d7da; font: 15px/1.5 system-ui, sans-serif; }}
  figure {{ margin: 12px; }}
  .pair {{ position: relative; display: grid; touch-action: pan-y; }}
  .pair > * {{ grid-area: 1 / 1; }}
  img {{ display: block; max-width: calc(100vw - 24px); max-height: calc(100vh - 90px); }}
  .before {{ clip-path: inset(0 calc(100% - var(--at)) 0 0); }}
  .line {{ position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px;
          background: #fff; box-shadow: 0 0 4px #000; pointer-events: none; }}
  input {{ width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }}
  figcaption {{ display: flex; justify-content: space-between; padding-top: 6px; }}
</style>
<figure>
  <div class="pair" style="--at: 50%">
    <img class="after" alt="coloured" src="{after}">
    <img class="before" alt="before" src="{before}">
    <div class="line"></div>
    <input type="range" min="0" max="100" step="0.1" value="50" aria-label="How much is before"
           oninput="this.parentNode.style.setProperty('--at', this.value + '%')">
  </div>
  <figcaption><span>before</span><span>{title}</span><span>coloured</span></figcaption>
</figure>
</html>
"""
