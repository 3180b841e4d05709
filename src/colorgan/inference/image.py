"""Open an image of any mode, or an array, as a `Picture`: its pixels, alpha and orientation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorgan.color import FloatArray, UInt8Array, uint8_from_unit
from colorgan.data import decode
from colorgan.data.decode import GRAY_MODES
from colorgan.errors import ColorganError

Pixels = UInt8Array | FloatArray

TURNS: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""By EXIF orientation: turns pixels as the file stores them upright."""
OPPOSITE = {6: 8, 8: 6}
"""The orientation whose turn undoes that of another; the rest undo themselves."""


@dataclass(frozen=True)
class Picture:
    """An image to colour, its pixels as the file stores them, not turned upright.

    Attributes:
        pixels: sRGB `(H, W, 3)` uint8; or gray `(H, W)`, uint8, or float32 in 0..1 where the file
            has more than 8 bits a channel.
        alpha: `(H, W)` uint8, or None.
        orientation: of EXIF, 1 to 8.
    """

    pixels: Pixels
    alpha: UInt8Array | None = None
    orientation: int = 1

    @property
    def width(self) -> int:
        """Width as stored."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height as stored."""
        return int(self.pixels.shape[0])

    @classmethod
    def from_image(cls, image: Image.Image) -> Picture:
        """Convert a Pillow image of any mode; an embedded colour profile is converted to sRGB."""
        orientation = decode.orientation(image)
        image.load()
        image, alpha = _split_alpha(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            values = np.asarray(image)
            if (transparent := image.info.get("transparency")) is not None:
                alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
            pixels: Pixels = _gray_in_srgb(_unit(values), image.info.get("icc_profile"))
        elif image.mode in GRAY_MODES and "icc_profile" not in image.info:
            pixels = np.asarray(image.convert("L"))
        else:
            pixels = np.asarray(decode.srgb(image))
        return cls(pixels, alpha, orientation if orientation in TURNS else 1)

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
        array = _uint8_or_unit(array.reshape(*array.shape[:2], channels))
        alpha = _uint8(array[..., -1]) if channels in (2, 4) else None
        return cls(_uint8(array[..., :3]) if channels >= 3 else array[..., 0], alpha)


def turn_upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn pixels as a file of this EXIF orientation stores them upright."""
    return np.ascontiguousarray(TURNS[orientation](pixels))


def turn_back(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn upright pixels back to how a file of this EXIF orientation stores them."""
    return np.ascontiguousarray(TURNS[OPPOSITE.get(orientation, orientation)](pixels))


def _uint8_or_unit(array: npt.NDArray[Any]) -> Pixels:
    """Return an array as uint8, or as float32 in 0..1."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return array.astype(np.float32) / np.float32(65535)
    if not np.issubdtype(array.dtype, np.floating):
        raise ColorganError(
            f"an array of {array.dtype} is no picture; it should be uint8, uint16, bool, or "
            "floating point in 0..1"
        )
    lowest, highest = float(array.min()), float(array.max())
    # Written so that NaN is refused too.
    if not (lowest >= 0 and highest <= 1):
        raise ColorganError(
            f"an array with values from {lowest:g} to {highest:g} is no picture; floating point "
            "should be in 0..1"
        )
    return array.astype(np.float32)


def _uint8(array: Pixels) -> UInt8Array:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, dtype=np.uint8)
    rounded: UInt8Array = uint8_from_unit(array)
    return rounded


def _split_alpha(image: Image.Image) -> tuple[Image.Image, UInt8Array | None]:
    """Split an image into one without palette and alpha, and its alpha."""
    profile = image.info.get("icc_profile")
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa"):
        return image, None
    image = image.convert({"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    alpha = np.asarray(image.getchannel("A"))
    opaque = image.convert("L" if image.mode == "LA" else "RGB")
    if profile:
        opaque.info["icc_profile"] = profile
    return opaque, alpha


def _gray_in_srgb(gray: FloatArray, profile: bytes | None) -> FloatArray:
    """Convert gray in 0..1 from an ICC profile to sRGB, interpolating the curve of 8-bit values."""
    if profile is None:
        return gray
    steps = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps.info["icc_profile"] = profile
    converted = np.asarray(decode.srgb(steps))[0, :, 1]
    curve = np.maximum.accumulate(converted.astype(np.float32)) / np.float32(255)
    return np.interp(gray * 255, np.arange(256), curve).astype(np.float32)


def _unit(values: npt.NDArray[Any]) -> FloatArray:
    """Scale gray to 0..1: integers by 65535, floats by 1, 255 or 65535, the first that fits.

    Larger values are scaled by the largest one.
    """
    unit = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    scales = (65535.0,) if np.issubdtype(values.dtype, np.integer) else (1.0, 255.0, 65535.0)
    highest = float(unit.max())
    scale = next((scale for scale in scales if highest <= scale), highest)
    clipped: FloatArray = np.clip(unit / np.float32(scale), 0, 1)
    return clipped
