"""Images of every mode and arrays of every kind become a `Picture`, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode
from PIL import Image, ImageOps

from colorgan.errors import ColorganError
from colorgan.inference.image import Picture, turn_back

RAMP = np.linspace(0, 255, 12).round().astype(np.uint8).reshape(3, 4)
RGB = np.stack((RAMP, RAMP[::-1], RAMP[:, ::-1]), axis=-1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_turned_as_pillow_turns_them(orientation: int) -> None:
    lying = Image.fromarray(np.dstack((RGB, RAMP)))
    lying.getexif()[0x0112] = orientation
    picture = Picture.from_image(lying)
    upright = np.asarray(ImageOps.exif_transpose(lying))
    assert (np.dstack((picture.pixels, picture.alpha)) == upright).all()
    assert (turn_back(upright, picture.orientation) == np.asarray(lying)).all()


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


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("decoded", [False, True])
def test_a_jpeg_2000_that_pillow_reads_wrongly_is_refused(
    tmp_path: Path, bits: int, decoded: bool
) -> None:
    """Above 8 bits its white becomes black."""
    file, deep = tmp_path / "a.jp2", RGB.astype(np.uint16 if bits > 8 else np.uint8)
    file.write_bytes(jpeg2k_encode(deep << bits - 8, level=0, bitspersample=bits))
    with Image.open(file) as image:
        if decoded:
            image.load()
        if bits == 8:
            assert (Picture.from_image(image).pixels == RGB).all()
            return
        with pytest.raises(ColorganError, match="this kind of JPEG2000 wrongly; give its bytes"):
            Picture.from_image(image)
