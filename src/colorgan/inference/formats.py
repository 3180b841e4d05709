"""Picture files: decode one, encode the coloured picture in its format, and compare the two."""

from __future__ import annotations

import base64
import html
import io
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms

from colorgan.color import UInt8Array, uint8_from_unit
from colorgan.data.decode import ORIENTATION, opened
from colorgan.inference.image import Picture, turn_upright

Comparison = Literal["side", "slider"]

SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
WRITTEN_AS = {"MPO": "JPEG", "GIF": "PNG"}
"""Formats that are read but not written: MPO is several JPEGs, GIF has 256 colours."""
HOLDS_ALPHA = ("PNG", "WEBP", "TIFF")
LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
JPEG_SEGMENT = 65_000
"""Bytes of metadata that fit into a segment of a JPEG."""
SUB_IFDS = (0x8769, 0x8825)
"""EXIF tags that hold further tags: Exif and GPS."""
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": 0, "optimize": True},
    "PNG": {},
    "WEBP": {"method": 4, "exact": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
}
LAYOUT_TAGS = frozenset(
    {*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), *range(317, 326), 330}
    | {*range(332, 348), *range(512, 522), *range(529, 533)}
)
"""TIFF tags that say how pixels are stored; the new file has its own. Thumbnails are among them."""

GAP = 8
"""Pixels between the pictures side by side."""
LONGEST_SIDE_BY_SIDE = 32_000
LONGEST_ON_PAGE = 1600


@dataclass(frozen=True)
class Metadata:
    """What a coloured picture keeps of its source file.

    Attributes:
        format: the format to write, of SUFFIX_OF.
        exif: EXIF data without tags of the pixel layout and without the (gray) thumbnail.
        has_sub_ifds: whether `exif` has one of SUB_IFDS.
        dpi: horizontal and vertical resolution.
        xmp: XMP packet.
        had_profile: whether an ICC profile was embedded.
    """

    format: str
    exif: bytes
    has_sub_ifds: bool
    dpi: tuple[float, float] | None
    xmp: bytes | None
    had_profile: bool

    @classmethod
    def from_image(cls, image: Image.Image) -> Metadata:
        """Read it from an opened image."""
        exif = _exif(image)
        xmp = image.info.get("xmp")
        return cls(
            format=written_as(image.format),
            exif=exif.tobytes() if exif else b"",
            has_sub_ifds=any(tag in exif for tag in SUB_IFDS),
            dpi=_resolution(image),
            xmp=xmp.encode() if isinstance(xmp, str) else xmp,
            had_profile="icc_profile" in image.info,
        )


def written_as(format: str | None) -> str:
    """Return the format in which a picture that was read as `format` is written."""
    return WRITTEN_AS.get(format or "", format or "")


def decode(content: bytes) -> tuple[Picture, Metadata]:
    """Decode a picture file.

    Raises:
        UnreadablePhoto: it is no picture, damaged, or larger than `Image.MAX_IMAGE_PIXELS`.
    """
    with opened(content) as image:
        picture = Picture.from_image(image)
        # After the pixels: Pillow turns a TIFF upright only while its orientation tag is there.
        return picture, Metadata.from_image(image)


def encode(
    picture: Picture, colored: UInt8Array, metadata: Metadata, format: str, quality: int
) -> bytes:
    """Encode a coloured picture `(H, W, 3)` with the alpha and metadata of its source.

    JPEG and BMP have no alpha: the picture is laid over white. BMP has no orientation: the picture
    is turned upright.

    Args:
        picture: the source.
        colored: its colours, sRGB.
        metadata: of the source.
        format: of SUFFIX_OF.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        ValueError: the picture is too large for the format.
    """
    longest = LONGEST_SIDE.get(format, max(colored.shape))
    if max(colored.shape) > longest:
        raise ValueError(f"its longest side is {longest} pixels")
    pixels = colored
    if picture.alpha is not None and format in HOLDS_ALPHA:
        pixels = np.dstack((colored, picture.alpha))
    elif picture.alpha is not None:
        pixels = _over_white(colored, picture.alpha)
    if format == "BMP":
        pixels = turn_upright(pixels, picture.orientation)
    options = SAVE_OPTIONS[format] | _metadata_options(metadata, format)
    if format in ("JPEG", "WEBP"):
        options["quality"] = quality
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format, **options)
    return buffer.getvalue()


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


def srgb_profile() -> bytes:
    """Return the ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _metadata_options(metadata: Metadata, format: str) -> dict[str, Any]:
    """Return the metadata that a format can hold, as arguments of `Image.save`."""
    options: dict[str, Any] = {}
    most = JPEG_SEGMENT if format == "JPEG" else sys.maxsize
    if metadata.dpi and format != "WEBP":
        options["dpi"] = metadata.dpi
    if format == "BMP":
        return options
    if metadata.had_profile:
        options["icc_profile"] = srgb_profile()
    if 0 < len(metadata.exif) <= most:
        options["exif"] = metadata.exif
        if format == "TIFF" and metadata.has_sub_ifds:
            # libtiff, which compresses, cannot write them.
            options["compression"] = None
    if format in ("JPEG", "WEBP") and metadata.xmp and len(metadata.xmp) <= most:
        options["xmp"] = metadata.xmp
    return options


def _exif(image: Image.Image) -> Image.Exif:
    try:
        exif = image.getexif()
        for tag in LAYOUT_TAGS & set(exif):
            del exif[tag]
        # Pillow has turned a TIFF upright.
        if image.format == "TIFF":
            exif.pop(ORIENTATION, None)
        for tags in (exif, *(exif.get_ifd(tag) for tag in SUB_IFDS if tag in exif)):
            for tag, value in list(tags.items()):
                if isinstance(value, str) and not value.isascii():
                    # Back to the bytes of the file: Pillow would replace all but ASCII.
                    tags[tag] = value.encode("latin-1", "replace")
        exif.tobytes()
    except Exception:
        # Damaged metadata must not stop a picture from being coloured.
        return Image.Exif()
    return exif


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    try:
        x, y = map(float, image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


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
