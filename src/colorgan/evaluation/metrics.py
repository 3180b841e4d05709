"""Measures of coloured pictures against the truth: pure functions on arrays.

Every function takes one picture `(H, W, 3)` or several `(N, H, W, 3)`, uint8 sRGB, and gives a
number for each: an array of shape `()` or `(N,)`, float64. Those that work in CIE Lab (D65) also
take the Lab itself, floating point of the same shape, as `lab_from_pictures` gives it, so that a
picture that is measured several times is converted once.

Never rank models on PSNR or SSIM: both are best for washed-out colours. The gray picture is the
baseline of every measure here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from colorgan import color
from colorgan.color import UInt8Array

FloatArray = npt.NDArray[np.floating]
Pictures = UInt8Array | FloatArray
AnyArray = npt.NDArray[Any]

PSNR_CAP = 100.0
"""PSNR in dB given to identical pictures, whose PSNR is infinite."""
HUELESS = 2.0
"""A generated pixel of less chroma than this looks gray: it has no hue, so none that is right."""
HUE_BINS = 36
"""Bins of the hue histogram: 10 degrees each."""

RESAMPLES = 2000
RESAMPLES_AT_A_TIME = 50  # bounds the memory of the bootstrap: its indices for 8000 photos, 3 MB
RESAMPLING_SEED = 0


def lab_from_pictures(pictures: UInt8Array) -> FloatArray:
    """Return the CIE Lab, float32 `(..., 3)`, of uint8 sRGB pictures."""
    return cast(FloatArray, color.lab_from_rgb(color.unit_from_uint8(pictures)))


def psnr(pictures: UInt8Array, truth: UInt8Array) -> FloatArray:
    """Return the peak signal-to-noise ratio over R, G and B together, in dB; higher is better.

    10 log10(255^2 / mean squared error), 0 (black for white) up to `PSNR_CAP` = 100, which
    identical pictures get. The gray picture of a photograph has about 22 dB.

    Source: `skimage.metrics.peak_signal_noise_ratio`.
    """

    def of_one(picture: UInt8Array, true: UInt8Array) -> float:
        with np.errstate(divide="ignore"):
            decibels = float(peak_signal_noise_ratio(true, picture, data_range=255))
        return min(decibels, PSNR_CAP)

    return _each(of_one, pictures, truth)


def ssim(pictures: UInt8Array, truth: UInt8Array) -> FloatArray:
    """Return the structural similarity, -1..1, the mean of R, G and B; 1 is identical.

    With the constants of the paper: a Gaussian window of sigma 1.5 (11x11 pixels), population
    covariance, K1 = 0.01, K2 = 0.03, range 255. Pictures are at least 11 pixels high and wide.

    Source: Wang et al., "Image quality assessment: from error visibility to structural
    similarity" (2004), by `skimage.metrics.structural_similarity`.

    Raises:
        ValueError: the pictures are smaller than the window, or differ in shape.
    """

    def of_one(picture: UInt8Array, true: UInt8Array) -> float:
        # From uint8 scikit-image works in float64: a quarter slower, and no different to 1e-6.
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

    1 is about the smallest difference that an observer sees side by side.

    Source: Sharma et al., "The CIEDE2000 color-difference formula" (2005), by
    `skimage.color.deltaE_ciede2000`, in float32 (off by less than 1e-4).
    """

    def of_one(lab: FloatArray, true: FloatArray) -> float:
        return float(deltaE_ciede2000(true, lab).mean(dtype=np.float64))

    return _each(of_one, _lab(pictures), _lab(truth))


def colorfulness(pictures: UInt8Array) -> FloatArray:
    """Return the colourfulness of Hasler and Suesstrunk, from signed opponent channels.

    sqrt(sd(rg)^2 + sd(yb)^2) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2) with rg = R - G and
    yb = (R + G) / 2 - B on 0..255, population standard deviations. 0 is gray, photographs have
    about 15 to 60, 109 was called extremely colourful.

    Source: Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003).
    """
    return _colorfulness(*_opponents(pictures))


def colorfulness_abs(pictures: UInt8Array) -> FloatArray:
    """Return `colorfulness` with the absolute values of rg and yb, as papers on colouring do.

    The only form that compares with the tables of DDColor and CT2. It differs where a picture
    holds opponent colours: red beside green has less spread and more mean than when signed.

    Source: the evaluation code of DDColor (Kang et al., 2023) and CT2 (Weng et al., 2022).
    """
    rg, yb = _opponents(pictures)
    return _colorfulness(np.abs(rg), np.abs(yb))


def hue_share(
    pictures: Pictures, truth: Pictures, *, chromatic: float, tolerance: float
) -> FloatArray:
    """Return the share, 0..1, of the truth's chromatic pixels that got about the right hue.

    Hue is the angle of (a, b) in Lab. A generated pixel with chroma below `HUELESS` has none and
    counts as wrong, so the gray picture scores 0. NaN where the truth has no chromatic pixel.
    Hues drawn at random score tolerance / 180.

    Args:
        pictures: generated pictures.
        truth: the photos as they were.
        chromatic: chroma from which on a pixel of the truth counts.
        tolerance: largest difference of hue that is right, in degrees, above 0 up to 180.
    """
    chroma, hue = color.chroma_and_hue(_lab(pictures))
    true_chroma, true_hue = color.chroma_and_hue(_lab(truth))
    counted = true_chroma >= chromatic
    apart = np.abs(hue - true_hue)
    apart = np.minimum(apart, 2 * np.pi - apart)
    right = counted & (chroma >= HUELESS) & (apart <= math.radians(tolerance))
    total = counted.sum(axis=(-2, -1))
    share = right.sum(axis=(-2, -1)) / np.maximum(total, 1)
    return cast(FloatArray, np.where(total > 0, share, np.nan))


def color_shift(pictures: Pictures, truth: Pictures) -> tuple[FloatArray, FloatArray]:
    """Return the mean of generated minus truth along a and along b, in Lab units.

    A cast over the whole picture: positive a is towards red, negative towards green; positive b
    is towards yellow, negative towards blue. 0 is none.
    """
    # One mean each, not a mean of differences: the arrays of differences are never needed.
    moved = _mean_lab(_lab(pictures)) - _mean_lab(_lab(truth))
    return moved[..., 1], moved[..., 2]


def hue_histogram(pictures: Pictures, *, chromatic: float) -> FloatArray:
    """Return which hues the pictures hold: `(..., 36)`, the share of all pixels in each bin.

    Bin i holds the chromatic pixels (chroma >= `chromatic`) with a hue from 10 i up to
    10 (i + 1) degrees: 0 is red-purple (+a), 90 yellow (+b), 180 green (-a), 270 blue (-b). The
    sum over the bins is the share of chromatic pixels, so 0 for gray.
    """
    lab = _lab(pictures)
    chroma, hue = color.chroma_and_hue(lab)
    # The remainder brings -pi..0 to the upper bins, and a hue of exactly pi to bin 18.
    bins = np.floor(hue * (HUE_BINS / (2 * math.pi))).astype(np.int64) % HUE_BINS
    bins[chroma < chromatic] = HUE_BINS
    flat = bins.reshape(-1, bins.shape[-2] * bins.shape[-1])
    # Gray pixels lie in a bin of their own behind the others, which is cut off.
    counts = [np.bincount(row, minlength=HUE_BINS + 1)[:HUE_BINS] for row in flat]
    shares: FloatArray = np.asarray(counts) / flat.shape[1]
    return shares.reshape(*lab.shape[:-3], HUE_BINS)


def hue_bin_centers() -> FloatArray:
    """Return the middle of each bin of `hue_histogram` in degrees, `(36,)`: 5, 15, ... 355."""
    return np.linspace(0, 360, HUE_BINS, endpoint=False) + 180 / HUE_BINS


def confidence_interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Return a confidence interval of the mean over photos, or None for fewer than 3 photos.

    The percentile bootstrap: the mean of as many photos drawn again with replacement, 2000
    times. The seed is fixed, so the same photos give the same interval. The photos are the
    sample; the pixels of a photo are not independent of each other.

    Args:
        values: a number for each photo; NaN is a photo without one, and is left out.
        level: probability that the interval covers the mean, between 0 and 1.
    """
    sample = np.asarray(values, dtype=np.float64)
    sample = sample[np.isfinite(sample)]
    if len(sample) < 3:
        return None
    interval = bootstrap(
        (sample,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=RESAMPLES_AT_A_TIME,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(RESAMPLING_SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _lab(pictures: Pictures) -> FloatArray:
    """Return Lab of either Lab (floating point) or pictures (uint8)."""
    if np.issubdtype(pictures.dtype, np.floating):
        return cast(FloatArray, pictures)
    return lab_from_pictures(cast(UInt8Array, pictures))


def _mean_lab(lab: FloatArray) -> FloatArray:
    return cast(FloatArray, lab.mean(axis=(-3, -2), dtype=np.float64))


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
    """Apply a measure of two single pictures to one pair or to several."""
    if pictures.shape != truth.shape:
        raise ValueError(f"pictures are {pictures.shape}, their truth is {truth.shape}")
    one = pictures.shape[-3:]
    pairs = zip(pictures.reshape(-1, *one), truth.reshape(-1, *one), strict=True)
    numbers = [measure(picture, true) for picture, true in pairs]
    return np.asarray(numbers, dtype=np.float64).reshape(pictures.shape[:-3])
