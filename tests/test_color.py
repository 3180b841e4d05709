"""Colour conversions, held against scikit-image and PIL on random and on real pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from colorgan import color
from colorgan.color import UInt8Array


@pytest.fixture
def pixels(real_photos: UInt8Array) -> UInt8Array:
    """Random and real colours `(N, 3)`, and black, white and the pure colours."""
    rng = np.random.default_rng(0)
    random = rng.integers(0, 256, (50_000, 3), dtype=np.uint8)
    corners = np.stack(np.meshgrid(*3 * [[0, 255]]), -1).reshape(-1, 3).astype(np.uint8)
    return np.concatenate((random, real_photos.reshape(-1, 3), corners))


@pytest.fixture
def labs() -> np.ndarray:
    """Lab colours `(N, 3)`, most of them outside sRGB."""
    rng = np.random.default_rng(0)
    return rng.uniform((0, -127, -127), (100, 127, 127), (50_000, 3))


def skimage_rgb(lab: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of colours that do not exist
        return lab2rgb(lab)


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-9), (np.float32, 2e-3)])
def test_lab_is_that_of_scikit_image(pixels: UInt8Array, dtype: type, within: float) -> None:
    lab = color.lab_from_rgb((pixels / 255).astype(dtype))
    assert lab.dtype == dtype
    np.testing.assert_allclose(lab, rgb2lab(pixels / 255.0), atol=within, rtol=0)


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_rgb_is_that_of_scikit_image(labs: np.ndarray, dtype: type, within: float) -> None:
    rgb = color.rgb_from_lab(labs.astype(dtype))
    assert rgb.dtype == dtype
    np.testing.assert_allclose(rgb, skimage_rgb(labs), atol=within, rtol=0)


def test_colours_outside_srgb_lose_chroma_and_keep_lightness_and_hue(labs: np.ndarray) -> None:
    labs = labs[:5000].astype(np.float32)
    rgb = color.rgb_within_srgb(labs)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    inside = color.lab_from_rgb(rgb)
    assert np.abs(inside[:, 0] - labs[:, 0]).max() < 0.1
    (chroma, hue), (less, same) = color.chroma_and_hue(labs), color.chroma_and_hue(inside)
    assert (less <= chroma + 0.1).all()
    turned = np.abs(np.angle(np.exp(1j * (hue - same))))
    assert turned[less > 5].max() < 0.02
    # With two percent more of it they are outside.
    reduced = less < 0.97 * chroma
    assert reduced.sum() > 1000
    more = inside[reduced] * np.array([1, 1.02, 1.02])
    clipped = color.lab_from_rgb(color.rgb_from_lab(more))
    assert (np.abs(clipped - more).max(axis=-1) > 1e-4).mean() > 0.98


def test_torch_and_numpy_agree(pixels: UInt8Array, labs: np.ndarray) -> None:
    for convert, values, within in (
        (color.lab_from_rgb, color.unit_from_uint8(pixels), 1e-3),
        (color.rgb_from_lab, labs.astype(np.float32), 1e-4),
        (color.uint8_from_unit, color.unit_from_uint8(pixels), 0),
    ):
        tensor, array = convert(torch.from_numpy(values)), convert(values)
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_allclose(tensor.numpy(), array, atol=within)


def test_gradients_are_finite_at_black_and_white() -> None:
    rgb = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1e-9, 0, 1]], requires_grad=True)
    color.rgb_from_lab(color.lab_from_rgb(rgb)).sum().backward()
    assert rgb.grad is not None
    assert rgb.grad.isfinite().all()


def test_lab8_is_the_lab_of_scikit_image_rounded(pixels: UInt8Array) -> None:
    """L * 255 / 100, a + 128 and b + 128: off by no more than the rounding, half a step."""
    exact = rgb2lab(pixels / 255.0) * (255 / 100, 1, 1) + (0, 128, 128)
    lab8 = color.lab8_from_rgb8(pixels)
    assert lab8.dtype == np.uint8
    assert np.abs(lab8 - exact).max() < 0.502


def test_gray_is_that_of_pil(pixels: UInt8Array) -> None:
    gray = color.gray8_from_rgb8(pixels)
    by_pil = np.asarray(Image.fromarray(pixels[None]).convert("L"))[0]
    assert gray.dtype == np.uint8
    assert np.abs(gray.astype(int) - by_pil).max() <= 1
    assert (gray == np.round(pixels @ (0.299, 0.587, 0.114))).mean() > 0.999


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_lightness_and_luma_of_pixels_and_of_gray(pixels: UInt8Array, kind: str) -> None:
    photo = pixels[:50_000].reshape(100, 500, 3)
    wanted = rgb2lab(photo / 255.0)[..., 0]
    given = photo if kind == "uint8" else (photo / 255).astype(kind)
    found = color.lightness_from_srgb(given)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    luma = color.luma_from_srgb(given)
    np.testing.assert_allclose(255 * luma, color.gray8_from_rgb8(photo), atol=0.501)
    gray = given[..., 0]
    three = color.lightness_from_srgb(np.stack(3 * [gray], axis=-1))
    np.testing.assert_allclose(color.lightness_from_srgb(gray), three, atol=1e-3)
    assert color.luma_from_srgb(gray).max() <= 1
