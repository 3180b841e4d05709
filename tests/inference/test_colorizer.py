"""`Colorizer`: images, arrays and batches of them in, the same in colour out."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
import torch
from drawn import Orange
from PIL import Image

from colorgan import Colorizer, color
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.inference import colorizer


@pytest.fixture
def orange() -> Colorizer:
    return Colorizer(Orange())


def hue(rgb: UInt8Array) -> float:
    lab = color.lab_from_rgb(rgb.astype(np.float32) / 255)
    return float(np.rad2deg(np.arctan2(lab[..., 2].mean(), lab[..., 1].mean())))


def test_its_example_is_true() -> None:
    assert doctest.testmod(colorizer).failed == 0
    assert doctest.testmod(colorizer).attempted >= 4


@pytest.mark.parametrize("mode", ["L", "RGB", "LA"])
def test_an_image_comes_back_as_an_image_of_its_size(orange: Colorizer, mode: str) -> None:
    colored = orange.colorize(Image.new("L", (50, 31), 120).convert(mode))
    assert colored.size == (50, 31)
    assert colored.mode == ("RGBA" if "A" in mode else "RGB")
    assert hue(np.asarray(colored)[..., :3]) == pytest.approx(53, abs=2)


def test_an_image_keeps_its_information(orange: Colorizer) -> None:
    picture = Image.new("L", (40, 40), 120)
    exif = Image.Exif()
    exif[0x010E] = "a boat"
    picture.info |= {"dpi": (300, 300), "exif": exif.tobytes(), "comment": b"x"}
    colored = orange.colorize(picture)
    assert colored.info["dpi"] == (300, 300)
    assert colored.getexif()[0x010E] == "a boat"
    assert "icc_profile" not in colored.info


@pytest.mark.parametrize(
    ("shape", "dtype", "out"),
    [
        ((20, 33), np.uint8, (20, 33, 3)),
        ((20, 33, 4), np.float32, (20, 33, 4)),
        ((5, 20, 33, 1), np.uint8, (5, 20, 33, 3)),
        ((5, 20, 33, 3), np.float64, (5, 20, 33, 3)),
    ],
)
def test_an_array_comes_back_as_uint8(
    orange: Colorizer, shape: tuple[int, ...], dtype: type, out: tuple[int, ...]
) -> None:
    values = np.full(shape, 0.5) if np.issubdtype(dtype, np.floating) else np.full(shape, 120)
    colored = orange.colorize(values.astype(dtype))
    assert (colored.dtype, colored.shape) == (np.uint8, out)
    assert hue(colored[..., :3]) == pytest.approx(53, abs=2)


def test_a_sequence_keeps_its_order_and_kinds(orange: Colorizer) -> None:
    dark, bright = np.full((8, 8), 60, np.uint8), np.full((8, 60), 200, np.uint8)
    first, second, third = orange.colorize([dark, Image.fromarray(bright), dark])
    assert isinstance(second, Image.Image)
    assert (first == third).all()
    assert second.size == (60, 8)
    assert np.asarray(second).mean() > first.mean()
    # What is of one size goes through the network together.
    network = orange.network
    assert isinstance(network, Orange)
    assert sorted(network.shapes) == [(1, 1, 32, 128), (2, 1, 32, 32)]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (torch.rand(3, 64, 80), r"Tensor is no picture; .* such as tensor.permute\(1, 2, 0\)"),
        ([torch.rand(64, 80)], "Tensor is no picture; it should be a Pillow image, a NumPy array"),
        (np.zeros((3, 64, 80)), r"shape \(3, 64, 80\) is no picture; it should be \(H, W\)"),
        (np.zeros((2, 3, 5), np.uint8), r"shape \(2, 3, 5\).*1 to 4 channels"),
        (np.zeros((0, 8, 8, 3), np.uint8), "at least one pixel"),
        (np.full((2, 2), 1.5), r"from 1.5 to 1.5.*0\.\.1"),
        (np.full((8, 8), np.nan), "values from nan to nan"),
        (np.zeros((8, 8), np.int64), "an array of int64"),
        (Image.new("L", (0, 5)), "an image without a pixel"),
        ("scan.tif", "str is no picture"),
        ([[0, 1], [1, 0]], "list is no picture"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_sentence(
    orange: Colorizer, source: Any, sentence: str
) -> None:
    with pytest.raises(ColorganError, match=sentence):
        orange.colorize(source)


def test_the_saturation_has_a_range(orange: Colorizer) -> None:
    for saturation in (float("nan"), -1, 5):
        with pytest.raises(ValueError, match="a number from 0 to 4"):
            orange.colorize(np.zeros((8, 8)), saturation=saturation)
