"""Coloured pictures as files: the format, metadata and profile of the picture they were made of."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from colorgan.color import UInt8Array
from colorgan.data import decode as encoded
from colorgan.inference.colorizer import srgb_profile
from colorgan.inference.image import TURNS, Photo

SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}
FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
WRITTEN_AS = {"MPO": "JPEG", "GIF": "PNG"}
"""Formats that are read and not written: MPO is a JPEG with more behind, GIF has 256 colours."""
HOLDS_ALPHA = ("PNG", "WEBP", "TIFF")
LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
SEGMENT = 65_000
"""Bytes that a piece of metadata in a JPEG may have, its head left out."""
SUB_IFDS = (0x8769, 0x8825)
"""Tags of EXIF that hold tags: of the exposure and of the place."""
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": 0, "optimize": True},
    "PNG": {},
    "WEBP": {"method": 4, "exact": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
}
STRUCTURE = frozenset(
    {*range(254, 267), 273, *range(277, 282), 284, *range(288, 294), *range(317, 326), 330}
    | {*range(332, 348), *range(512, 522), *range(529, 533)}
) - {270, 271, 272}
"""Tags that say how pixels are stored: the new file has its own."""


@dataclass(frozen=True)
class Metadata:
    """What a coloured picture keeps of the file it was made of."""

    exif: bytes
    has_sub_ifds: bool
    dpi: tuple[float, float] | None
    xmp: bytes | None
    had_profile: bool

    @classmethod
    def of_image(cls, image: Image.Image) -> Metadata:
        """Take it from a picture that was opened."""
        exif = _exif(image)
        dpi = image.info.get("dpi")
        xmp = image.info.get("xmp")
        return cls(
            exif=exif.tobytes() if exif else b"",
            has_sub_ifds=any(tag in exif for tag in SUB_IFDS),
            dpi=(float(dpi[0]), float(dpi[1])) if _is_resolution(dpi) else None,
            xmp=xmp.encode() if isinstance(xmp, str) else xmp,
            had_profile="icc_profile" in image.info,
        )


def written_as(format: str | None) -> str:
    """Return the format that a picture of `format` is written in where it is to be kept."""
    return WRITTEN_AS.get(format or "", format or "")


def encode(
    photo: Photo, colored: UInt8Array, metadata: Metadata, format: str, quality: int
) -> bytes:
    """Encode a coloured photo `(H, W, 3)` with its alpha and metadata.

    JPEG and BMP have no alpha: there transparent parts are laid over white. BMP has no tag for the
    orientation: there the picture is turned upright.

    Raises:
        ValueError: the format does not hold a picture of this size.
    """
    longest = LONGEST_SIDE.get(format, max(colored.shape))
    if max(colored.shape) > longest:
        raise ValueError(f"its longest side is {longest} pixels")
    pixels = colored
    if photo.alpha is not None and format in HOLDS_ALPHA:
        pixels = np.dstack((colored, photo.alpha))
    elif photo.alpha is not None:
        pixels = _over_white(colored, photo.alpha)
    if format == "BMP":
        pixels = TURNS[photo.orientation][0](pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    options = OPTIONS[format] | _metadata(metadata, format)
    if format in ("JPEG", "WEBP"):
        options["quality"] = quality
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _metadata(metadata: Metadata, format: str) -> dict[str, Any]:
    """Return the metadata that a format holds, as options for Pillow."""
    options: dict[str, Any] = {}
    fits = SEGMENT if format == "JPEG" else sys.maxsize
    if metadata.dpi and format != "WEBP":
        options["dpi"] = metadata.dpi
    if format == "BMP":
        return options
    if metadata.had_profile:
        options["icc_profile"] = srgb_profile()
    if 0 < len(metadata.exif) <= fits:
        options["exif"] = metadata.exif
        if format == "TIFF" and metadata.has_sub_ifds:
            # libtiff, which compresses, does not take them.
            options["compression"] = None
    if format in ("JPEG", "WEBP") and metadata.xmp and len(metadata.xmp) <= fits:
        options["xmp"] = metadata.xmp
    return options


def _exif(image: Image.Image) -> Image.Exif:
    """Return the EXIF data without what describes pixels and without the (gray) thumbnail."""
    try:
        exif = image.getexif()
        for tag in STRUCTURE & set(exif):
            del exif[tag]
        # Pillow has turned a TIFF upright already.
        if image.format == "TIFF":
            exif.pop(encoded.ORIENTATION, None)
        for tags in (exif, *(exif.get_ifd(tag) for tag in SUB_IFDS if tag in exif)):
            for tag, value in list(tags.items()):
                if isinstance(value, str) and not value.isascii():
                    # As Pillow has read the bytes; it would write only those of ASCII.
                    tags[tag] = value.encode("latin-1", "replace")
        exif.tobytes()
    except Exception:
        # Damaged metadata is no reason to leave a photo gray.
        return Image.Exif()
    return exif


def _is_resolution(dpi: Any) -> TypeGuard[tuple[float, float]]:
    try:
        return len(dpi) == 2 and all(0 < float(value) < 1e6 for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return False


def _over_white(colored: UInt8Array, alpha: UInt8Array) -> UInt8Array:
    share = alpha[..., None].astype(np.float32) / 255
    return (colored * share + 255 * (1 - share) + 0.5).astype(np.uint8)
