"""The border of a scan is found, not seen by the network, and stays gray; a sky is no border."""

from __future__ import annotations

import numpy as np
import pytest

from colorgan import Colorizer, color
from colorgan.color import UInt8Array
from colorgan.inference.prepare import Box, find_border, prepare_input
from colorgan.inference.image import Picture
from colorgan.spaces import get_space


def framed(gray: UInt8Array, wide: int, level: int, noise: float = 0.0) -> UInt8Array:
    border = np.pad(gray, wide, constant_values=level).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, noise, border.shape)
    return np.clip(border + grain, 0, 255).round().astype(np.uint8)


@pytest.fixture
def gray(real_photos: UInt8Array) -> UInt8Array:
    return color.gray8_from_rgb8(real_photos[5]).repeat(3, axis=0).repeat(4, axis=1)


@pytest.mark.parametrize("level", [0, 20, 120, 235, 255])
@pytest.mark.parametrize("noise", [0, 3])
def test_a_border_all_around_is_found(gray: UInt8Array, level: int, noise: float) -> None:
    box = find_border(Picture(framed(gray, 17, level, noise)))
    height, width = gray.shape
    assert 17 <= box.top <= 20
    assert 17 <= box.left <= 20
    assert height + 14 <= box.bottom <= height + 17
    assert width + 14 <= box.right <= width + 17


def test_every_bundled_photo_is_all_picture(real_photos: UInt8Array) -> None:
    for photo in real_photos:
        assert find_border(Picture(photo)) == Box(0, 64, 0, 64)


@pytest.mark.parametrize("sides", [(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 0)])
def test_an_even_part_on_some_sides_is_part_of_the_picture(
    gray: UInt8Array, sides: tuple[int, ...]
) -> None:
    top, left, right, bottom = (30 * side for side in sides)
    sky = np.pad(gray, ((top, bottom), (left, right)), constant_values=220)
    assert find_border(Picture(sky)) == Box(0, sky.shape[0], 0, sky.shape[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2), (40, 40)])
def test_an_even_picture_has_no_border(shape: tuple[int, int]) -> None:
    pixels = np.full(shape, 200, np.uint8)
    assert find_border(Picture(pixels)) == Box(0, shape[0], 0, shape[1])


def test_the_network_does_not_see_it(gray: UInt8Array) -> None:
    space = get_space("lab")
    alone = prepare_input(Picture(gray), space, 64, 32)
    scan = prepare_input(Picture(framed(gray, 20, 250)), space, 64, 32)
    height, width = (min(a, b) for a, b in zip(alone.small.shape, scan.small.shape, strict=True))
    difference = np.abs(alone.small[:height, :width] - scan.small[:height, :width])
    # Cut a pixel or two further in, so not the same to the pixel.
    assert difference.mean() < 0.03


def test_colour_does_not_leak_into_it() -> None:
    """Whatever the network says: here that all is orange."""

    class Orange:
        space, image_size, multiple, name = get_space("lab"), 64, 32, "orange"

        def predict(self, input: np.ndarray) -> np.ndarray:
            return np.full((len(input), 2, *input.shape[2:]), 0.4, np.float32)

    gray = np.linspace(60, 200, 90 * 120).reshape(90, 120).astype(np.uint8)
    scan = framed(np.random.default_rng(1).permutation(gray), 16, 245)
    colored = Colorizer(Orange()).colorize(scan)
    chroma = np.ptp(colored.astype(int), axis=-1)
    inner = chroma[20:-20, 20:-20]
    assert inner.min() > 30
    outer = chroma.copy()
    outer[16:-16, 16:-16] = 0
    assert outer.max() <= 1
