"""Measures of coloured pictures against the truth: pure functions on arrays.

Every function takes one picture `(H, W, 3)` or several `(N, H, W, 3)`, uint8 sRGB, and returns one
float64 per picture: an array of shape `()` or `(N,)`. Functions that work in CIE Lab (D65) also
accept Lab as `lab_from_pictures` returns it, so that a picture is converted only once.

Do not rank models by PSNR or SSIM: both favour washed-out colours. The baseline of every measure is
the gray picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorgan import color
from colorgan.color import UInt8Array

FloatArray = npt.NDArray[np.floating]
Pictures = UInt8Array | FloatArray
AnyArray = npt.NDArray[Any]

PSNR_CAP = 100.0
"""PSNR in dB of identical pictures, for which the formula gives infinity."""
HUELESS = 2.0
"""A generated pixel with less chroma than this looks gray: its hue counts as wrong."""
CHROMATIC = 10.0
"""A pixel with at least this chroma (Lab units) has a visible colour: its hue counts."""
HUE_TOLERANCE = 30.0
"""A hue within this many degrees is right."""
HUE_BINS = 36
"""Bins of the hue histogram: 10 degrees each."""


def lab_from_pictures(pictures: Pictures) -> FloatArray:
    """Return the CIE Lab, float32 `(..., 3)`, of uint8 sRGB; Lab (floating point) as it is."""
    if np.issubdtype(pictures.dtype, np.floating):
        return cast(FloatArray, pictures)
    return cast(FloatArray, color.lab_from_rgb(color.unit_from_uint8(pictures)))


def psnr(pictures: UInt8Array, truth: UInt8Array) -> FloatArray:
    """Return the peak signal-to-noise ratio over R, G and B together, in dB; higher is better.

    10 log10(255^2 / mean squared error): 0 for black instead of white, `PSNR_CAP` for identical
    pictures, about 22 dB for a photograph turned gray.

    Source: `skimage.metrics.peak_signal_noise_ratio`.
    """

    def of_one(picture: UInt8Array, true: UInt8Array) -> float:
        with np.errstate(divide="ignore"):
            decibels = float(peak_signal_noise_ratio(true, picture, data_range=255))
        return min(decibels, PSNR_CAP)

    return _each(of_one, pictures, truth)


def ssim(pictures: UInt8Array, truth: UInt8Array) -> FloatArray:
    """Return the structural similarity, -1..1, the mean of R, G and B; 1 is identical.

    The constants are the paper's: Gaussian window with sigma 1.5 (11x11 pixels), population
    covariance, K1 = 0.01, K2 = 0.03, range 255. Pictures must be at least 11 pixels wide and high
    (else ValueError).

    Source: Wang et al., "Image quality assessment: from error visibility to structural
    similarity" (2004), by `skimage.metrics.structural_similarity`.
    """

    def of_one(picture: UInt8Array, true: UInt8Array) -> float:
        # scikit-image would convert uint8 to float64: slower, and the same to 1e-6.
        similarity = structural_similarity(
            picture.astype(np.float32),
            true.astype(np.float32),
            data_range=255,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        return float(similarity)

    return _each(of_one, pictures, truth)


def ciede2000(pictures: Pictures, truth: Pictures) -> FloatArray:
    """Return the mean CIEDE2000 colour difference of the pixels, 0 and up; lower is better.

    A difference of 1 is about the smallest that an observer sees side by side.

    Source: Sharma et al., "The CIEDE2000 color-difference formula" (2005), by
    `skimage.color.deltaE_ciede2000`, in float32 (off by less than 1e-4).
    """

    def of_one(lab: FloatArray, true: FloatArray) -> float:
        return float(deltaE_ciede2000(true, lab).mean(dtype=np.float64))

    return _each(of_one, lab_from_pictures(pictures), lab_from_pictures(truth))


def colorfulness(pictures: UInt8Array) -> FloatArray:
    """Return the colourfulness of Hasler and Suesstrunk, from signed opponent channels.

    sqrt(sd(rg)^2 + sd(yb)^2) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2) with rg = R - G and
    yb = (R + G) / 2 - B on 0..255 and population standard deviations. Gray has 0, photographs
    about 15 to 60.

    Source: Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003).
    """
    return _colorfulness(*_opponents(pictures))


def colorfulness_abs(pictures: UInt8Array) -> FloatArray:
    """Return `colorfulness` from the absolute values of rg and yb, as papers on colouring do.

    Use this form to compare with the tables of DDColor and CT2. It differs from the signed form for
    pictures with opponent colours, such as red beside green.

    Source: the evaluation code of DDColor (Kang et al., 2023) and CT2 (Weng et al., 2022).
    """
    rg, yb = _opponents(pictures)
    return _colorfulness(np.abs(rg), np.abs(yb))


def hue_share(pictures: Pictures, truth: Pictures) -> FloatArray:
    """Return the share, 0..1, of the truth's chromatic pixels whose hue is about right.

    Hue is the angle of (a, b) in Lab. A generated pixel with chroma below `HUELESS` counts as
    wrong, so the gray picture scores 0. Random hues score `HUE_TOLERANCE` / 180. NaN if the truth
    has no pixel of `CHROMATIC` or more.
    """
    chroma, hue = color.chroma_and_hue(lab_from_pictures(pictures))
    true_chroma, true_hue = color.chroma_and_hue(lab_from_pictures(truth))
    counted = true_chroma >= CHROMATIC
    apart = np.abs(hue - true_hue)
    apart = np.minimum(apart, 2 * np.pi - apart)
    right = counted & (chroma >= HUELESS) & (apart <= math.radians(HUE_TOLERANCE))
    total = counted.sum(axis=(-2, -1))
    share = right.sum(axis=(-2, -1)) / np.maximum(total, 1)
    return cast(FloatArray, np.where(total > 0, share, np.nan))


def color_shift(pictures: Pictures, truth: Pictures) -> tuple[FloatArray, FloatArray]:
    """Return the mean of generated minus truth along a and along b, in Lab units: a colour cast.

    Positive a is towards red, negative a towards green; positive b is towards yellow, negative b
    towards blue.
    """
    generated, true = (
        lab_from_pictures(x).mean(axis=(-3, -2), dtype=np.float64) for x in (pictures, truth)
    )
    moved = generated - true
    return moved[..., 1], moved[..., 2]


def hue_histogram(pictures: Pictures) -> FloatArray:
    """Return the share of all pixels in each hue bin, `(36,)`, of one picture or several together.

    Bin i counts the chromatic pixels (chroma >= `CHROMATIC`) with a hue from 10 i up to
    10 (i + 1) degrees: 0 is red-purple (+a), 90 yellow (+b), 180 green (-a), 270 blue (-b). The sum
    of the bins is the share of chromatic pixels: 0 for gray.
    """
    chroma, hue = color.chroma_and_hue(lab_from_pictures(pictures))
    # The remainder moves -pi..0 to the upper bins, and a hue of exactly pi to bin 18.
    bins = np.floor(hue * (HUE_BINS / (2 * math.pi))).astype(np.int64) % HUE_BINS
    counts = np.bincount(bins[chroma >= CHROMATIC], minlength=HUE_BINS)
    shares: FloatArray = counts / bins.size
    return shares


def hue_bin_centers() -> FloatArray:
    """Return the middle of each bin of `hue_histogram` in degrees, `(36,)`: 5, 15, ... 355."""
    return np.linspace(0, 360, HUE_BINS, endpoint=False) + 180 / HUE_BINS


def _opponents(pictures: UInt8Array) -> tuple[FloatArray, FloatArray]:
    """Return rg and yb of Hasler and Suesstrunk, `(..., H, W)` float32 (exact) in -255..255."""
    rgb = pictures.astype(np.float32)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return red - green, (red + green) / 2 - blue


def _colorfulness(rg: FloatArray, yb: FloatArray) -> FloatArray:
    pixels = (-2, -1)
    spread = np.hypot(rg.std(pixels, dtype=np.float64), yb.std(pixels, dtype=np.float64))
    mean = np.hypot(rg.mean(pixels, dtype=np.float64), yb.mean(pixels, dtype=np.float64))
    return cast(FloatArray, spread + 0.3 * mean)


def _each(
    measure: Callable[[AnyArray, AnyArray], float], pictures: AnyArray, truth: AnyArray
) -> FloatArray:
    """Apply a measure of two single pictures to one pair or several."""
    if pictures.shape != truth.shape:
        raise ValueError(f"pictures are {pictures.shape}, their truth is {truth.shape}")
    one = pictures.shape[-3:]
    pairs = zip(pictures.reshape(-1, *one), truth.reshape(-1, *one), strict=True)
    numbers = [measure(picture, true) for picture, true in pairs]
    return np.asarray(numbers, dtype=np.float64).reshape(pictures.shape[:-3])
