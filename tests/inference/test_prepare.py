"""What the network sees of a picture: without its border, small, upright, padded by its mirror."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import Orange

from colorgan import Colorizer, color
from colorgan.color import UInt8Array
from colorgan.config import SPACES
from colorgan.inference.image import Picture
from colorgan.inference.prepare import Box, find_border, prepare_input
from colorgan.spaces import get_space


@pytest.mark.parametrize("name", SPACES)
def test_ab_lies_where_the_photo_had_it(name: str, real_photos: UInt8Array) -> None:
    """A network that gives back the truth of what it saw: the ab of the small copy comes out."""
    space = get_space(name)
    prepared = prepare_input(Picture(real_photos[3][:40]), space, side=24, multiple=32)
    small = prepared.small
    assert small.shape == (24, 38, 3)
    height, width = small.shape[:2]
    assert prepared.input.shape[1:] == (-(-height // 32) * 32, -(-width // 32) * 32)
    rows = slice(prepared.top, prepared.top + height)
    columns = slice(prepared.left, prepared.left + width)
    seen = prepared.input[:, rows, columns]
    given = space.network_input(small)
    # The same, or stretched: by a line that is steeper than 1, cut off at either end.
    inside = np.abs(seen) < 1
    slope, offset = np.polyfit(given[inside], seen[inside], 1)
    assert slope > 0.999
    np.testing.assert_allclose(seen, np.clip(slope * given + offset, -1, 1), atol=1e-3)
    output = np.zeros((space.out_channels, *prepared.input.shape[1:]), np.float32)
    lab = color.lab_from_rgb(small)
    truth = lab[..., 1:] / 110 if name == "lab" else 2 * small - 1
    output[:, rows, columns] = np.moveaxis(truth, -1, 0)
    np.testing.assert_allclose(prepared.ab(space.ab(output)), lab[..., 1:], atol=0.01)


@pytest.mark.parametrize(("low", "high"), [(0.4, 0.7), (0.6, 1.0)])
def test_a_faded_photo_is_stretched_and_an_even_one_is_not(low: float, high: float) -> None:
    space = get_space("rgb")
    gray = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    before = prepare_input(Picture(gray), space, 64, 32).input
    np.testing.assert_allclose(before[0], 2 * gray - 1, atol=1e-6)
    faded = prepare_input(Picture(low + (high - low) * gray), space, 64, 32).input
    # But for the hundredth at either end that stretching gives up.
    np.testing.assert_allclose(faded, before, atol=0.03)
    assert (faded.min(), faded.max()) == (-1, 1)
    # Else the grain of an even gray would look like a picture.
    even = 0.5 + 0.01 * np.random.default_rng(0).standard_normal((40, 40), np.float32)
    assert np.ptp(prepare_input(Picture(even), space, 40, 32).input) < 0.3


def framed(gray: UInt8Array, wide: int, level: int, noise: float = 0.0) -> UInt8Array:
    border = np.pad(gray, wide, constant_values=level).astype(np.float32)
    grain = np.random.default_rng(0).normal(0, noise, border.shape)
    return np.clip(border + grain, 0, 255).round().astype(np.uint8)


@pytest.fixture
def gray(real_photos: UInt8Array) -> UInt8Array:
    return color.gray8_from_rgb8(real_photos[5]).repeat(3, axis=0).repeat(4, axis=1)


@pytest.mark.parametrize(("level", "noise"), [(0, 0), (120, 3), (255, 3)])
def test_a_border_all_around_is_found(gray: UInt8Array, level: int, noise: float) -> None:
    box = find_border(Picture(framed(gray, 17, level, noise)))
    height, width = gray.shape
    assert 17 <= box.top <= 20
    assert 17 <= box.left <= 20
    assert height + 14 <= box.bottom <= height + 17
    assert width + 14 <= box.right <= width + 17


def test_no_border_is_found_where_there_is_none(gray: UInt8Array, real_photos: UInt8Array) -> None:
    for photo in real_photos:
        assert find_border(Picture(photo)) == Box(0, 64, 0, 64)
    sky = np.pad(gray, ((30, 0), (30, 30)), constant_values=220)
    assert find_border(Picture(sky)) == Box(0, sky.shape[0], 0, sky.shape[1])
    for height, width in ((1, 1), (1, 500), (40, 40)):
        even = Picture(np.full((height, width), 200, np.uint8))
        assert find_border(even) == Box(0, height, 0, width)


def test_colour_does_not_leak_into_it() -> None:
    """Whatever the network says: here that all is orange."""
    gray = np.linspace(60, 200, 90 * 120).reshape(90, 120).astype(np.uint8)
    scan = framed(np.random.default_rng(1).permutation(gray), 16, 245)
    colored = Colorizer(Orange(), side=64).colorize(scan)
    chroma = np.ptp(colored.astype(int), axis=-1)
    inner = chroma[20:-20, 20:-20]
    assert inner.min() > 30
    outer = chroma.copy()
    outer[16:-16, 16:-16] = 0
    assert outer.max() <= 1
