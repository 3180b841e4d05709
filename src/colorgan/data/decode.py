"""Encoded pictures of any kind to sRGB pixels, or a reason why not."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageCms, UnidentifiedImageError

from colorgan.data.sources.base import Pixels, UnreadablePhoto, content_id

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What is tried on the bytes, whatever the name says. Not the rest of what Pillow knows: EPS runs
Ghostscript, and a text file must not be taken for one of a dozen picture formats in text."""
GRAY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
OPAQUE_FROM = 250
"""Alpha from which on a pixel counts as opaque; scanners and editors leave 254 behind."""
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
TURNED = (5, 6, 7, 8)
"""The orientations that swap width and height."""

# Pillow logs what it finds odd in a TIFF; with no handler anywhere that would go to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class EncodedPhoto:
    """A photo as the bytes of a picture file.

    Attributes:
        problem: why there are no bytes, where the source could not get them; empty otherwise.
    """

    content: bytes
    name: str
    label: str
    split: str | None
    problem: str = ""

    @property
    def id(self) -> str:
        """A hash of the bytes; of the name where there are none, which makes no duplicates."""
        return content_id(self.content or self.name.encode("utf-8", "surrogateescape"))

    def decode(self, side: int) -> Pixels:
        """Decode the bytes; see `decode`."""
        if self.problem:
            raise UnreadablePhoto(self.problem)
        return decode(self.content, side)


def decode(content: bytes, side: int) -> Pixels:
    """Decode a picture file to sRGB, upright: the first picture where it holds several.

    A JPEG much larger than `side` is decoded at a half, quarter or eighth of its size. Embedded
    colour profiles are converted to sRGB; CMYK without one by Pillow's plain formula. Gray and
    transparent pictures are refused, for there is no (whole) photo in colour in them.

    Raises:
        UnreadablePhoto: with the reason, which is the same whenever the bytes are.
    """
    if not content:
        raise UnreadablePhoto("unreadable: the file is empty")
    try:
        with warnings.catch_warnings():
            # Half-known metadata is no reason to leave a photo out.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.format == "PNG":
                    _verify(content)
                return _upright_srgb(image, side)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadablePhoto(f"too large: over {Image.MAX_IMAGE_PIXELS} pixels") from error
    except UnreadablePhoto:
        raise
    except UnidentifiedImageError as error:
        # Its own text has an address in memory in it, another one each time.
        reason = f"unreadable: not a {', '.join(FORMATS)}, or a damaged one"
        raise UnreadablePhoto(reason) from error
    except Exception as error:
        # Decoders of damaged files raise nearly anything: OSError, SyntaxError, struct.error, ...
        raise UnreadablePhoto(f"unreadable: {_one_line(error)}") from error


def _upright_srgb(image: Image.Image, side: int) -> Pixels:
    if image.mode in GRAY_MODES:
        raise UnreadablePhoto(f"gray: mode {image.mode} has no colour to learn from")
    size = image.size
    orientation = _orientation(image)
    # MPO is a JPEG with another picture after it, as many phones write.
    if image.format in ("JPEG", "MPO"):
        # Both sides stay at least `side` long: the cosine transform does the first halvings.
        image.draft(None, (side, side))
    if image.format == "TIFF":
        with _no_stderr():
            image.load()
    else:
        image.load()
    upright = _srgb(_opaque(image), image.info.get("icc_profile"))
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    return Pixels(upright, "srgb", size[::-1] if orientation in TURNED else size)


def _verify(content: bytes) -> None:
    """Check the checksums of a PNG: without that, a damaged one may come out black and no error."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        image.verify()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what libtiff prints of a damaged file off the terminal; it becomes an error anyway."""
    try:
        kept = os.dup(2)
    except OSError:
        # There is no stderr to print to.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 if there is none or the metadata is damaged.

    Not `ImageOps.exif_transpose`: it copies every picture, and fails where it cannot write the
    other metadata back. Pillow turns a TIFF upright itself, and gives its size so.
    """
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _opaque(image: Image.Image) -> Image.Image:
    """Return the picture without palette and alpha; refuse one that shows what is behind it."""
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


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from the embedded profile, or by Pillow's formula where there is none that fits."""
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB, kept: many photos of a camera have the same profile.

    None for a damaged profile, or one for another mode: the pixels are still a photo.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
