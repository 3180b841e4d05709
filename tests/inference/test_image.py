"""Images of every mode and arrays of every kind become a `Picture`, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorgan.data import decode as encoded
from colorgan.errors import ColorganError
from colorgan.inference.image import TURNS, Picture, turn_back, turn_upright

RAMP = np.linspace(0, 255, 12).round().astype(np.uint8).reshape(3, 4)
RGB = np.stack((RAMP, RAMP[::-1], RAMP[:, ::-1]), axis=-1)


@pytest.mark.parametrize(
    ("image", "pixels", "alpha"),
    [
        (Image.fromarray(RAMP), RAMP, None),
        (Image.fromarray(RAMP).convert("LA"), RAMP, 255),
        (Image.fromarray(RGB), RGB, None),
        (Image.fromarray(np.dstack((RGB, RAMP))), RGB, RAMP),
        (Image.fromarray(RAMP > 99), (RAMP > 99) * np.uint8(255), None),
        (Image.fromarray(RAMP).convert("P"), np.stack(3 * [RAMP], axis=-1), None),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), RAMP / 255, None),
        (Image.fromarray((RAMP / 255).astype(np.float32)), RAMP / 255, None),
    ],
    ids=["L", "LA", "RGB", "RGBA", "1", "P", "I;16", "F"],
)
def test_a_picture_of_any_mode(image: Image.Image, pixels: np.ndarray, alpha: Any) -> None:
    picture = Picture.from_image(image)
    assert picture.pixels.dtype == (np.uint8 if pixels.dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(picture.pixels, pixels, atol=1e-6)
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        assert (picture.alpha == alpha).all()


@pytest.mark.parametrize("orientation", TURNS)
def test_orientations_are_turned_as_pillow_turns_them(orientation: int) -> None:
    wanted = Image.fromarray(RGB)
    if orientation in encoded.UPRIGHT:
        wanted = wanted.transpose(encoded.UPRIGHT[orientation])
    upright = turn_upright(RGB, orientation)
    assert (upright == np.asarray(wanted)).all()
    assert (turn_back(upright, orientation) == RGB).all()


@pytest.mark.parametrize(
    ("array", "pixels", "alpha"),
    [
        (RAMP, RAMP, None),
        (np.dstack((RAMP, RAMP[::-1])), RAMP, RAMP[::-1]),
        (RGB, RGB, None),
        (np.dstack((RGB, RAMP)), RGB, RAMP),
        (RAMP.astype(np.uint16) * 257, RAMP / 255, None),
        (RAMP / 255, RAMP / 255, None),
        (RGB / 255, RGB, None),
        (RAMP > 99, (RAMP > 99) * np.uint8(255), None),
    ],
    ids=["gray", "gray a", "rgb", "rgba", "uint16", "float", "float rgb", "bool"],
)
def test_an_array_of_any_kind(array: np.ndarray, pixels: np.ndarray, alpha: Any) -> None:
    picture = Picture.from_array(array)
    np.testing.assert_allclose(picture.pixels, pixels, atol=1e-6)
    assert (picture.alpha is None) == (alpha is None)
    assert alpha is None or (picture.alpha == alpha).all()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 5), np.uint8), r"shape \(2, 3, 5\).*1 to 4 channels"),
        (np.zeros((0, 3), np.uint8), "at least one pixel"),
        (np.full((2, 2), 1.5), "from 1.5 to 1.5.*0..1"),
        (np.full((2, 2), np.nan), "from nan to nan"),
        (np.zeros((2, 2), np.int64), "int64.*uint8, uint16"),
    ],
)
def test_what_is_no_picture_is_refused(array: np.ndarray, said: str) -> None:
    with pytest.raises(ColorganError, match=said):
        Picture.from_array(array)


@pytest.mark.parametrize("scale", [255, -1, 65535])
def test_floats_of_an_unknown_range_are_refused(scale: int) -> None:
    with pytest.raises(ColorganError, match=r"values from .* float32 should be in 0\.\.1"):
        Picture.from_image(Image.fromarray(RAMP.astype(np.float32) * scale))
