"""Chroma follows the edges of a photo, and lightness stays as it was, whatever the colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.inference import recombine as module
from colorgan.inference.image import Picture
from colorgan.inference.recombine import GuidedChroma, recombine


def lightness_of(rgb: UInt8Array) -> np.ndarray:
    return color.lab_from_rgb(rgb.astype(np.float64) / 255)[..., 0]


def noise(*shape: int, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "saturation"), [((50, 70), 0.0), ((50, 70), 3.0), ((50, 70, 3), 1.0)]
)
def test_lightness_stays_whatever_the_colour(shape: tuple[int, ...], saturation: float) -> None:
    """Noise, and colours far outside sRGB: the worst there can be."""
    pixels = noise(*shape)
    random = np.random.default_rng(1)
    small = random.random((16, 24), np.float32)
    ab = random.uniform(-110, 110, (16, 24, 2)).astype(np.float32)
    colored = recombine(Picture(pixels), small, ab, saturation)
    assert colored.shape == (50, 70, 3)
    difference = np.abs(lightness_of(colored) - color.lightness_from_srgb(pixels))
    assert difference.max() < 0.6
    if saturation:
        assert np.abs(color.lab_from_rgb(colored / 255)[..., 1:]).mean() > 3
    else:
        assert np.ptp(colored.astype(int), axis=-1).max() <= 1


def test_colour_does_not_run_over_an_edge() -> None:
    """Red on the dark left, blue on the bright right, known at a sixteenth of the size."""
    photo = np.full((128, 256), 90, np.uint8)
    photo[:, 120:] = 180
    # The edge is inside a small pixel, and the small colours are blurred over two more.
    small = np.asarray(Image.fromarray(photo).resize((16, 8), Image.Resampling.BOX)) / np.float32(
        255
    )
    share = np.clip((np.arange(16) - 5.5) / 4, 0, 1)[None, :, None]
    red, blue = np.array([40.0, 20]), np.array([0.0, -40])
    ab = ((1 - share) * red + share * blue).repeat(8, axis=0).astype(np.float32)
    plain = np.asarray(Image.fromarray(ab[..., 0]).resize((256, 128), Image.Resampling.BILINEAR))
    lightness = color.lightness_from_srgb(photo)
    guided = GuidedChroma(color.lightness_from_srgb(small), ab).rows(lightness, 0, 128)
    beside = np.s_[:, 112:128]
    truth = np.where(photo == 90, 40.0, 0.0)
    error = np.abs(guided[..., 0] - truth)[beside].mean()
    assert error < 0.5 * np.abs(plain - truth)[beside].mean()
    # A step as sharp as that of the photo.
    assert guided[64, 119, 0] - guided[64, 120, 0] > 15


def test_strips_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.asarray(Image.fromarray(noise(9, 7)).resize((90, 130), Image.Resampling.BICUBIC))
    random = np.random.default_rng(2)
    small = np.asarray(Image.fromarray(pixels).resize((20, 30))) / np.float32(255)
    ab = random.uniform(-40, 40, (30, 20, 2)).astype(np.float32)
    whole = recombine(Picture(pixels), small, ab)
    monkeypatch.setattr(module, "STRIP", 7 * 90)
    strips = recombine(Picture(pixels), small, ab)
    assert np.abs(whole.astype(int) - strips).max() <= 1
