"""Encoded pictures (JPEG, PNG, ...): opened and decoded to upright sRGB, or refused with a reason.

Training and colouring share the steps `opened`, `orientation` and `srgb`; `decode` does all of
them for a photo to train on.
"""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageCms, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""The formats that are tried, whatever the file's name. Not all that Pillow knows: EPS runs
Ghostscript, and some formats are plain text, for which any text file could be taken."""
GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a picture with an EXIF orientation is turned upright."""
OPAQUE_FROM = 250
"""Alpha from which on a pixel counts as opaque; scanners and editors leave 254 behind."""

# Pillow logs oddities of a TIFF; without any handler, logging would print them to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class UnreadablePhoto(Exception):  # noqa: N818 - a finding about a photo, not a fault
    """A photo cannot be used; its text is the reason, the same whenever the bytes are."""


@dataclass(frozen=True)
class DecodedPhoto:
    """A decoded photo: three bytes a pixel, and what they mean.

    Attributes:
        image: mode RGB, whatever the encoding.
        encoding: `srgb`, or `lab` for the 8-bit encoding of CIE Lab (L*255/100, a+128, b+128).
        size: width and height of the photo before it was decoded to a smaller one.
    """

    image: Image.Image
    encoding: Literal["srgb", "lab"]
    size: tuple[int, int]


def decode(content: bytes, side: int) -> DecodedPhoto:
    """Decode a picture file to sRGB, upright: the first picture where it holds several.

    A JPEG much larger than `side` is decoded at a half, quarter or eighth of its size. Embedded
    colour profiles are converted to sRGB; CMYK without one by Pillow's plain formula. Gray and
    transparent pictures are refused: they do not hold a whole photo in colour.

    Raises:
        UnreadablePhoto: with the reason.
    """
    with opened(content) as image:
        if image.mode in GRAY_MODES:
            raise UnreadablePhoto(f"gray: mode {image.mode} has no colour to learn from")
        size, turn = image.size, orientation(image)
        # MPO is a JPEG with another picture after it, as many phones write.
        if image.format in ("JPEG", "MPO"):
            # Both sides stay at least `side` long.
            image.draft(None, (side, side))
        image.load()
        upright = srgb(_opaque(image))
        if turn in UPRIGHT:
            upright = upright.transpose(UPRIGHT[turn])
            size = size[::-1] if turn >= 5 else size
        return DecodedPhoto(upright, "srgb", size)


@dataclass(frozen=True)
class RawPhoto:
    """A photo as its source keeps it, not decoded yet.

    Attributes:
        content: its bytes; empty where the source could not get them.
        name: where it lies in its source, for messages and rejected.csv.
        label: its class, or an empty string.
        split: train, val or test where the source has splits of its own, else None.
        problem: why it cannot be used, where the source knows that already; else empty.
        decoder: makes pixels of the bytes; that of picture files unless the source has another.
    """

    content: bytes
    name: str
    label: str = ""
    split: str | None = None
    problem: str = ""
    decoder: Callable[[bytes, int], DecodedPhoto] = decode

    @property
    def id(self) -> str:
        """16 hex digits of the SHA-256 of its bytes: the same photo has the same id anywhere.

        Of its name where there are no bytes, so that such photos are no duplicates.
        """
        content = self.content or self.name.encode("utf-8", "surrogateescape")
        return hashlib.sha256(content).hexdigest()[:16]

    def decode(self, side: int) -> DecodedPhoto:
        """Decode it, to no less than `side` pixels on the shorter side where it has as many.

        Raises:
            UnreadablePhoto: it cannot be decoded, or has no colour to learn from.
        """
        if self.problem:
            raise UnreadablePhoto(self.problem)
        return self.decoder(self.content, side)


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """Open a picture file without decoding its pixels.

    Any exception inside the block counts as a fault of the file.

    Raises:
        UnreadablePhoto: it is empty, no picture, damaged, or of more pixels than Pillow's limit,
            `Image.MAX_IMAGE_PIXELS`.
    """
    if not content:
        raise UnreadablePhoto("unreadable: the file is empty")
    try:
        with warnings.catch_warnings():
            # Half-known metadata is no reason to leave a photo out.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                # Up to twice its limit, Pillow only warns.
                limit = Image.MAX_IMAGE_PIXELS
                if limit is not None and image.width * image.height > limit:
                    raise Image.DecompressionBombError
                if image.format == "PNG":
                    # Unless its checksums are verified, a damaged PNG may come out black.
                    Image.open(io.BytesIO(content), formats=FORMATS).verify()
                yield image
    except UnreadablePhoto:
        raise
    except Exception as error:
        # Decoders raise nearly anything for damaged files: OSError, SyntaxError, struct.error, ...
        reason = f"unreadable: {' '.join(str(error).split()) or type(error).__name__}"
        if isinstance(error, Image.DecompressionBombError):
            reason = f"too large: over {Image.MAX_IMAGE_PIXELS} pixels"
        elif isinstance(error, UnidentifiedImageError):
            # Pillow's own text holds an address in memory, another one each time.
            reason = f"unreadable: not a {', '.join(FORMATS)}, or a damaged one"
        raise UnreadablePhoto(reason) from error


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if there is none or the metadata is damaged.

    Not `ImageOps.exif_transpose`: it copies every picture, and fails where it cannot write the
    other metadata back. Pillow itself turns a TIFF upright.
    """
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def srgb(image: Image.Image) -> Image.Image:
    """Convert to sRGB by the embedded profile; by Pillow's formula where none fits."""
    profile = image.info.get("icc_profile")
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _opaque(image: Image.Image) -> Image.Image:
    """Return the picture without palette and alpha; refuse one with transparent parts."""
    if "transparency" in image.info and image.mode in ("P", "RGB"):
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode in ("RGBA", "RGBa", "PA"):
        image = image.convert("RGBA")
        lowest, _ = image.getchannel("A").getextrema()
        if float(lowest) < OPAQUE_FROM:  # type: ignore[arg-type]
            raise UnreadablePhoto("transparent: parts of the picture are not there")
        image = image.convert("RGB")
    return image


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile to sRGB; cached, for photos of a camera share theirs.

    None for a damaged profile, or one for another mode: the pixels are still a photo.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
