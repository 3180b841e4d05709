"""Encoded pictures: opened whatever is wrong with them, and brought to sRGB."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from PIL import Image, ImageCms, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
"""What is tried on the bytes, whatever the name says. Not the rest of what Pillow knows: EPS runs
Ghostscript, and a text file must not be taken for one of a dozen picture formats in text."""
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
TURNED = (5, 6, 7, 8)
"""The orientations that swap width and height."""

_STDERR = threading.Lock()

# Pillow logs what it finds odd in a TIFF; with no handler anywhere that would go to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class UnreadablePhoto(Exception):  # noqa: N818 - it is a finding about a photo, not a fault
    """A photo cannot be used; its text is the reason, the same whenever the bytes are."""


@contextmanager
def opened(content: bytes) -> Iterator[Image.Image]:
    """Open a picture file, checked as far as that goes without decoding it.

    Whatever goes wrong with it inside the block is its fault too.

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
                # Up to twice the limit Pillow only warns, and warnings are of no thread.
                limit = Image.MAX_IMAGE_PIXELS
                if limit is not None and image.width * image.height > limit:
                    raise Image.DecompressionBombError
                if image.format == "PNG":
                    _verify(content)
                yield image
    except Image.DecompressionBombError as error:
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


def load(image: Image.Image) -> None:
    """Decode the pixels of an opened picture."""
    if image.format == "TIFF":
        with _no_stderr():
            image.load()
    else:
        image.load()


def orientation(image: Image.Image) -> int:
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


def srgb(image: Image.Image) -> Image.Image:
    """Convert from the embedded profile, or by Pillow's formula where there is none that fits."""
    profile = image.info.get("icc_profile")
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _verify(content: bytes) -> None:
    """Check the checksums of a PNG: without that, a damaged one may come out black and no error."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        image.verify()


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what libtiff prints of a damaged file off the terminal; it becomes an error anyway.

    One thread at a time: the second would take the first one's nowhere for stderr.
    """
    with _STDERR:
        yield from _stderr_to_nowhere()


def _stderr_to_nowhere() -> Iterator[None]:
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
