"""Any picture as a photo to be coloured: its light, its alpha, and which way is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorgan.color import FloatArray, UInt8Array, uint8_from_unit
from colorgan.data import decode as encoded
from colorgan.data.decode import GRAY_MODES
from colorgan.errors import ColorganError

Pixels = UInt8Array | FloatArray
Turn = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

TURNS: dict[int, tuple[Turn, Turn]] = {
    1: (lambda x: x, lambda x: x),
    2: (lambda x: x[:, ::-1], lambda x: x[:, ::-1]),
    3: (lambda x: x[::-1, ::-1], lambda x: x[::-1, ::-1]),
    4: (lambda x: x[::-1], lambda x: x[::-1]),
    5: (lambda x: x.swapaxes(0, 1), lambda x: x.swapaxes(0, 1)),
    6: (lambda x: np.rot90(x, -1), np.rot90),
    7: (lambda x: x[::-1, ::-1].swapaxes(0, 1), lambda x: x[::-1, ::-1].swapaxes(0, 1)),
    8: (np.rot90, lambda x: np.rot90(x, -1)),
}
"""How pixels with an EXIF orientation are turned upright, and back."""


@dataclass(frozen=True)
class Photo:
    """A picture to be coloured, laid out as its file has it.

    Attributes:
        pixels: uint8 sRGB `(H, W, 3)`, or gray `(H, W)`: uint8, or float32 in 0..1 where the file
            has more than eight bits.
        alpha: uint8 `(H, W)`, or None.
        orientation: that of EXIF, 1 to 8.
    """

    pixels: Pixels
    alpha: UInt8Array | None = None
    orientation: int = 1

    @property
    def width(self) -> int:
        """Width of the pixels, whatever the orientation."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height of the pixels, whatever the orientation."""
        return int(self.pixels.shape[0])

    @classmethod
    def of_image(cls, image: Image.Image) -> Photo:
        """Take a picture of any mode; an embedded colour profile is converted to sRGB."""
        orientation = encoded.orientation(image)
        encoded.load(image)
        image, alpha = _without_alpha(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            values = np.asarray(image)
            if (clear := image.info.get("transparency")) is not None:
                alpha = np.where(values == clear, 0, 255).astype(np.uint8)
            pixels: Pixels = _in_srgb(_unit(values), image.info.get("icc_profile"))
        elif image.mode in GRAY_MODES and "icc_profile" not in image.info:
            pixels = np.asarray(image.convert("L"))
        else:
            pixels = np.asarray(encoded.srgb(image))
        return cls(pixels, alpha, orientation if orientation in TURNS else 1)

    @classmethod
    def open(cls, path: Path) -> Photo:
        """Read a picture file.

        Raises:
            UnreadablePhoto: it is no picture or a damaged one.
        """
        with encoded.opened(path.read_bytes()) as image:
            return cls.of_image(image)

    @classmethod
    def of_array(cls, array: npt.NDArray[Any]) -> Photo:
        """Take gray `(H, W)` or `(H, W, 1)`, RGB `(H, W, 3)`, or either with alpha (2, 4 channels).

        uint8, uint16, bool, or floating point in 0..1.

        Raises:
            ColorganError: it is of another shape, kind or range, or without pixels.
        """
        channels = array.shape[2] if array.ndim == 3 else 1
        if array.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or not array.size:
            raise ColorganError(
                f"an array of shape {array.shape} is no picture; it should be (H, W) or "
                "(H, W, C) with 1 to 4 channels and at least one pixel"
            )
        array = _checked(array.reshape(*array.shape[:2], channels))
        alpha = _uint8(array[..., -1]) if channels in (2, 4) else None
        if channels >= 3:
            return cls(_uint8(array[..., :3]), alpha)
        return cls(array[..., 0], alpha)


def _checked(array: npt.NDArray[Any]) -> Pixels:
    """Return an array as uint8 or as float32 in 0..1."""
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
    # Also refuses what is not a number.
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


def _without_alpha(image: Image.Image) -> tuple[Image.Image, UInt8Array | None]:
    """Split a picture into one without palette and alpha, and its alpha."""
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


def _in_srgb(gray: FloatArray, profile: bytes | None) -> FloatArray:
    """Convert gray of many bits from a profile, along the 256 steps that eight bits have."""
    if profile is None:
        return gray
    steps = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps.info["icc_profile"] = profile
    converted = np.asarray(encoded.srgb(steps))[0, :, 1]
    curve = np.maximum.accumulate(converted.astype(np.float32)) / np.float32(255)
    return np.interp(gray * 255, np.arange(256), curve).astype(np.float32)


def _unit(values: npt.NDArray[Any]) -> FloatArray:
    """Scale gray of many bits to 0..1: by 1, 255, 65535 or the largest value, what fits first.

    Integers are never of fewer than sixteen bits.
    """
    unit = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    scales = (65535.0,) if np.issubdtype(values.dtype, np.integer) else (1.0, 255.0, 65535.0)
    highest = float(unit.max())
    scale = next((scale for scale in scales if highest <= scale), highest)
    clipped: FloatArray = np.clip(unit / np.float32(scale), 0, 1)
    return clipped
