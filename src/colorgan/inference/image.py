"""Open an image of any mode, or an array, as a `Picture`: its pixels, upright, and alpha."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, Jpeg2KImagePlugin, TiffImagePlugin

from colorgan.color import FloatArray, UInt8Array, uint8_from_unit
from colorgan.data import decode
from colorgan.data.decode import GRAY_MODES, UPRIGHT, Page
from colorgan.data.tiff import OVERSHOOT
from colorgan.errors import ColorganError

Pixels = UInt8Array | FloatArray

OPPOSITE = {6: 8, 8: 6}
"""The orientation whose turn undoes that of another; the rest undo themselves."""


@dataclass(frozen=True)
class Picture:
    """An image to colour, upright.

    Attributes:
        pixels: sRGB `(H, W, 3)` uint8; or gray `(H, W)`, uint8, or float32 in 0..1 where the file
            has more than 8 bits a channel.
        alpha: `(H, W)` uint8, or None.
        orientation: of EXIF, 1 to 8: how the file stores the pixels, see `turn_back`.
    """

    pixels: Pixels
    alpha: UInt8Array | None = None
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.pixels.shape[:2]
        return width, height

    @classmethod
    def from_page(cls, page: Page) -> Picture:
        """Decode a page of a file; ColorganError if its values have no known range."""
        image, alpha = page.load()
        return cls._upright(image, alpha, page.orientation)

    @classmethod
    def from_image(cls, image: Image.Image) -> Picture:
        """Convert a Pillow image of any mode; an embedded colour profile is converted to sRGB.

        Raises:
            ColorganError: Pillow reads it wrongly, or its values have no known range.
        """
        if _is_read_wrongly(image):
            kind = f"this kind of {image.format}"
            raise ColorganError(f"Pillow reads {kind} wrongly; give its bytes to colorize_bytes")
        orientation = 1 if image.format == "TIFF" else decode.orientation(image)
        image.load()
        image, alpha = decode.split_alpha(image)
        return cls._upright(image, alpha, orientation)

    @classmethod
    def _upright(cls, image: Image.Image, alpha: UInt8Array | None, orientation: int) -> Picture:
        if orientation in UPRIGHT:
            turn = UPRIGHT[orientation]
            image = image.transpose(turn)
            alpha = alpha if alpha is None else np.asarray(Image.fromarray(alpha).transpose(turn))
        return cls(_srgb(image), alpha, orientation)

    @classmethod
    def from_array(cls, array: npt.NDArray[Any]) -> Picture:
        """Convert gray `(H, W)` or `(H, W, 1)`, RGB `(H, W, 3)`, or either with alpha (2, 4).

        Raises:
            ColorganError: the shape is another one, a side is 0, or the values are not uint8,
                uint16, bool, or floating point in 0..1.
        """
        channels = array.shape[2] if array.ndim == 3 else 1
        if array.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or not array.size:
            raise ColorganError(
                f"an array of shape {array.shape} is no picture; it should be (H, W) or "
                "(H, W, C) with 1 to 4 channels and at least one pixel"
            )
        array = array.reshape(*array.shape[:2], channels)
        if array.dtype == np.bool_:
            array = array * np.uint8(255)
        elif array.dtype == np.uint16 or np.issubdtype(array.dtype, np.floating):
            array = _unit(array)
        elif array.dtype != np.uint8:
            raise ColorganError(
                f"an array of {array.dtype} is no picture; it should be uint8, uint16, bool, or "
                "floating point in 0..1"
            )
        alpha = uint8(array[..., -1]) if channels in (2, 4) else None
        return cls(uint8(array[..., :3]) if channels >= 3 else array[..., 0], alpha)


def _is_read_wrongly(image: Image.Image) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits, photometric, planes = (image.tag_v2.get(code) for code in (258, 262, 284))
        # Pillow does not invert such samples, or takes planes for pixels.
        return max(bits or (1,)) > 8 and (photometric == 0 or planes == 2)
    if isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile) and len(image.getbands()) > 1:
        # Pillow makes white black above 8 bits. What is decoded has no file any more, but a name.
        with suppress(OSError, ValueError):
            file = image.fp or BytesIO(Path(os.fsdecode(image.filename)).read_bytes())
            file.seek(0)
            return decode.jpeg2000_bits(file.read(), image.size) > 8
    return False


def turn_back(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Turn upright pixels back to how a file of this EXIF orientation stores them."""
    if orientation not in UPRIGHT:
        return pixels
    turn = UPRIGHT[OPPOSITE.get(orientation, orientation)]
    return np.asarray(Image.fromarray(pixels).transpose(turn))


def uint8(pixels: Pixels) -> UInt8Array:
    """Convert pixels to uint8."""
    converted = pixels if pixels.dtype == np.uint8 else uint8_from_unit(pixels)
    return np.ascontiguousarray(converted, dtype=np.uint8)


def _srgb(image: Image.Image) -> Pixels:
    """Return the pixels in sRGB of an image without palette and alpha."""
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # A pixel without a value is black.
        gray = np.nan_to_num(np.asarray(image), nan=0, posinf=0, neginf=0)
        return _gray_in_srgb(_unit(gray, OVERSHOOT), profile)
    if image.mode in GRAY_MODES and profile is None:
        return np.asarray(image.convert("L"))
    return np.asarray(decode.srgb(image))


def _gray_in_srgb(gray: FloatArray, profile: bytes | None) -> FloatArray:
    """Convert gray in 0..1 from an ICC profile to sRGB, interpolating the curve of 8-bit values."""
    if profile is None:
        return gray
    steps = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps.info["icc_profile"] = profile
    converted = np.asarray(decode.srgb(steps))[0, :, 1]
    curve = np.maximum.accumulate(converted.astype(np.float32)) / np.float32(255)
    return np.interp(gray * 255, np.arange(256), curve).astype(np.float32)


def _unit(values: npt.NDArray[Any], overshoot: float = 0.0) -> FloatArray:
    """Convert to float32 in 0..1: integers are divided by 65535, floats are clipped.

    ColorganError if they are outside by more than `overshoot`: then their range is unknown.
    """
    most = 65535 if np.issubdtype(values.dtype, np.integer) else 1
    lowest, highest = float(values.min()), float(values.max())
    # Written so that NaN is refused too.
    if not (lowest >= -overshoot * most and highest <= (1 + overshoot) * most):
        raise ColorganError(
            f"a picture with values from {lowest:g} to {highest:g}; {values.dtype} should be in "
            f"0..{most}"
        )
    clipped: FloatArray = np.clip(values.astype(np.float32) / np.float32(most), 0, 1)
    return clipped
