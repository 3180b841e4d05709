"""What is measured of a single photo: the columns of per_photo.csv and their values."""

from __future__ import annotations

from dataclasses import dataclass

from colorgan.color import UInt8Array
from colorgan.config import EvaluateParams
from colorgan.evaluation import metrics

MEASURES = (
    "psnr",
    "ssim",
    "ciede2000",
    "colorfulness",
    "colorfulness_abs",
    "hue_share",
    "shift_a",
    "shift_b",
)
"""What is measured of a picture beside its truth, as metrics.py defines it."""
TRUTH_MEASURES = ("colorfulness", "colorfulness_abs")
"""What is measured of the truth alone."""
COMPARED = ("generated", "gray")
"""The pictures of a photo that are compared with the truth."""
PREFIXES = {"generated": "", "truth": "truth_", "gray": "gray_"}
"""The pictures of a photo, with the prefix of their measures' columns."""
COLUMNS = (
    *(PREFIXES["generated"] + name for name in MEASURES),
    *(PREFIXES["truth"] + name for name in TRUTH_MEASURES),
    *(PREFIXES["gray"] + name for name in MEASURES),
)


@dataclass(frozen=True)
class PhotoMeasures:
    """What was measured of one photo.

    Attributes:
        row: a value for each of `COLUMNS`; `hue_share` is NaN for a photo without colour.
        true_hues: `metrics.hue_histogram` of the truth, `(36,)`.
        hues: the same of the generated picture.
    """

    row: dict[str, float]
    true_hues: metrics.FloatArray
    hues: metrics.FloatArray


def measure_photo(
    gray: UInt8Array, truth: UInt8Array, generated: UInt8Array, params: EvaluateParams
) -> PhotoMeasures:
    """Measure the generated and the gray picture of a photo, each `(H, W, 3)` uint8 sRGB."""
    true_lab = metrics.lab_from_pictures(truth)
    lab = metrics.lab_from_pictures(generated)
    row = _compare("generated", generated, lab, truth, true_lab, params)
    row[PREFIXES["truth"] + "colorfulness"] = float(metrics.colorfulness(truth))
    row[PREFIXES["truth"] + "colorfulness_abs"] = float(metrics.colorfulness_abs(truth))
    row |= _compare("gray", gray, metrics.lab_from_pictures(gray), truth, true_lab, params)
    return PhotoMeasures(
        row,
        true_hues=metrics.hue_histogram(true_lab, chromatic=params.chromatic),
        hues=metrics.hue_histogram(lab, chromatic=params.chromatic),
    )


def _compare(
    kind: str,
    picture: UInt8Array,
    lab: metrics.FloatArray,
    truth: UInt8Array,
    true_lab: metrics.FloatArray,
    params: EvaluateParams,
) -> dict[str, float]:
    """Return `MEASURES` of a picture, under its columns; both come with their Lab."""
    shift_a, shift_b = metrics.color_shift(lab, true_lab)
    values = {
        "psnr": metrics.psnr(picture, truth),
        "ssim": metrics.ssim(picture, truth),
        "ciede2000": metrics.ciede2000(lab, true_lab),
        "colorfulness": metrics.colorfulness(picture),
        "colorfulness_abs": metrics.colorfulness_abs(picture),
        "hue_share": metrics.hue_share(
            lab, true_lab, chromatic=params.chromatic, tolerance=params.hue_tolerance
        ),
        "shift_a": shift_a,
        "shift_b": shift_b,
    }
    return {PREFIXES[kind] + name: float(values[name]) for name in MEASURES}
