"""Convert between sRGB, CIE Lab, gray and their 8-bit encodings.

Functions take NumPy arrays or torch tensors, channels last `(..., 3)`, unless they say otherwise,
and return the same kind. Lab is CIE 1976 L*a*b* under D65 (2 degree observer), as in scikit-image:
L in 0..100, a and b in about -128..127. Use float32 or better: Lab in bfloat16 is off by 0.46, in
float16 by 0.08.

References: IEC 61966-2-1 (sRGB), CIE 15 (Lab), ITU-R BT.601 (luma).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

BT601_LUMA = (0.299, 0.587, 0.114)
XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
D65_WHITE = (0.95047, 1.0, 1.08883)
# Below (6/29)^3 Lab has a line instead of the cube root, whose slope is infinite at black.
LAB_EPSILON = 0.008856
LAB_SLOPE = 7.787
LAB_THRESHOLD = LAB_SLOPE * LAB_EPSILON + 16 / 116
_RGB_FROM_WHITE = np.linalg.inv(np.asarray(XYZ_FROM_RGB) / np.asarray(D65_WHITE)[:, None])

L_MAX = 100.0
AB_OFFSET = 128.0
AB_SCALE = 110.0
"""The networks use ab / 110, as pix2pix does; photographs are well within +-110."""


def _kit(x: Any) -> Any:
    """Return the module of `x`: numpy or torch, which is imported only for tensors."""
    if isinstance(x, np.ndarray):
        return np
    import torch

    return torch


def linear_from_srgb(srgb: Any) -> Any:
    """Undo the sRGB transfer curve; 0..1 in, 0..1 out."""
    kit = _kit(srgb)
    return kit.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def srgb_from_linear(linear: Any) -> Any:
    """Apply the sRGB transfer curve; clipped to 0..1."""
    kit = _kit(linear)
    linear = kit.clip(linear, 0.0, 1.0)
    # The gradient of the power is not finite at zero.
    curved = 1.055 * kit.clip(linear, 1e-8, None) ** (1 / 2.4) - 0.055
    return kit.where(linear > 0.0031308, curved, linear * 12.92)


def lab_from_rgb(rgb: Any) -> Any:
    """Convert floating-point sRGB in 0..1 to Lab."""
    linear = linear_from_srgb(rgb)
    return _kit(rgb).stack(_lab_planes(linear[..., 0], linear[..., 1], linear[..., 2]), -1)


def _lab_planes(red: Any, green: Any, blue: Any) -> tuple[Any, Any, Any]:
    """Convert planes of linear sRGB to planes of L, a and b.

    A matrix product over a last axis of three would be several times slower.
    """
    x, y, z = (
        _lab_f((m_red / white) * red + (m_green / white) * green + (m_blue / white) * blue)
        for (m_red, m_green, m_blue), white in zip(XYZ_FROM_RGB, D65_WHITE, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _lab_f(t: Any) -> Any:
    """Apply Lab's cube root, which is linear near black."""
    kit = _kit(t)
    above = kit.clip(t, LAB_EPSILON, None)
    root = np.cbrt(above) if kit is np else above ** (1 / 3)
    return kit.where(t > LAB_EPSILON, root, LAB_SLOPE * t + 16 / 116)


def rgb_from_lab(lab: Any) -> Any:
    """Convert Lab to sRGB in 0..1; colours outside sRGB are clipped."""
    kit = _kit(lab)
    y = (lab[..., 0] + 16) / 116
    x = y + lab[..., 1] / 500
    # A negative z has no meaning; scikit-image clips it too.
    z = kit.clip(y - lab[..., 2] / 200, 0.0, None)
    f = kit.stack((x, y, z), -1)
    xyz = kit.where(f > LAB_THRESHOLD, f**3, (f - 16 / 116) / LAB_SLOPE)
    matrix = _RGB_FROM_WHITE.T
    if kit is np:
        return srgb_from_linear(xyz @ matrix.astype(xyz.dtype))
    return srgb_from_linear(xyz @ kit.tensor(matrix, dtype=xyz.dtype, device=xyz.device))


def rgb_within_srgb(lab: FloatArray) -> FloatArray:
    """Convert Lab to sRGB in 0..1; colours outside sRGB get less chroma, at the same L and hue.

    Clipping would change lightness and hue.
    """
    linear = _linear_planes(*np.moveaxis(lab, -1, 0))
    outside = ~_in_srgb(linear)
    linear[:, outside] = _linear_planes(*within_srgb(lab[outside]).T)
    return cast(FloatArray, srgb_from_linear(np.moveaxis(linear, 0, -1)))


def within_srgb(lab: FloatArray) -> FloatArray:
    """Scale a and b of Lab `(N, 3)` down until the colours are just inside sRGB."""
    lightness, a, b = np.ascontiguousarray(lab.T)
    low, high = np.zeros_like(lightness), np.ones_like(lightness)
    for _ in range(12):  # to 1/4096 of the chroma, finer than 8 bits
        middle = (low + high) / 2
        inside = _in_srgb(_linear_planes(lightness, middle * a, middle * b))
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.stack((lightness, low * a, low * b), axis=-1)


def _linear_planes(lightness: Any, a: Any, b: Any) -> Any:
    """Convert planes of Lab to linear sRGB `(3, ...)`; faster than the above."""
    y = (lightness + 16) / 116
    f = np.stack((y + a / 500, y, np.maximum(y - b / 200, 0)))
    xyz = np.where(f > LAB_THRESHOLD, f * f * f, (f - 16 / 116) / LAB_SLOPE)
    return np.tensordot(_RGB_FROM_WHITE.astype(xyz.dtype), xyz, 1)


def _in_srgb(linear: Any) -> Any:
    """Return which colours of linear sRGB `(3, ...)` are inside; the tolerance is 0.05 of L."""
    return ((linear > -5e-5) & (linear < 1 + 1e-3)).all(axis=0)


def lightness_from_srgb(srgb: npt.NDArray[Any]) -> FloatArray:
    """Return L in 0..100, float32, of sRGB `(H, W, 3)` or gray `(H, W)`, uint8 or in 0..1."""
    if srgb.dtype == np.uint8:
        linear = np.take(_LINEAR_OF_BYTE, srgb)
    else:
        linear = linear_from_srgb(srgb.astype(np.float32))
    if linear.ndim == 3:
        linear = linear @ np.asarray(XYZ_FROM_RGB[1], np.float32)
    return cast(FloatArray, (116 * _lab_f(linear) - 16).astype(np.float32))


def luma_from_srgb(srgb: npt.NDArray[Any]) -> FloatArray:
    """Return the BT.601 luma in 0..1, as `lightness_from_srgb` returns L."""
    unit = unit_from_uint8(srgb) if srgb.dtype == np.uint8 else srgb.astype(np.float32)
    return unit @ np.asarray(BT601_LUMA, np.float32) if unit.ndim == 3 else unit


def rgb_slope_over_ab() -> npt.NDArray[np.float32]:
    """Return the derivative of sRGB in 0..1 by a and b, `(3, 2)`, at the gray with L 60."""
    beside = np.array([[60, 10, 0], [60, -10, 0], [60, 0, 10], [60, 0, -10]], np.float32)
    high_a, low_a, high_b, low_b = rgb_from_lab(beside)
    slope = np.stack((high_a - low_a, high_b - low_b), axis=1) / 20
    return slope.astype(np.float32)


def unit_from_uint8(rgb: npt.NDArray[Any]) -> FloatArray:
    """Convert 0..255 of any dtype to float32 in 0..1."""
    return rgb.astype(np.float32) / np.float32(255)


def uint8_from_unit(rgb: Any) -> Any:
    """Convert 0..1 to uint8 0..255, rounded and clipped."""
    return _uint8(rgb * 255.0)


def uint8_from_uint16(x: Any) -> Any:
    """Convert 0..65535 to uint8 0..255, rounded."""
    # 65535 is 255 * 257.
    return ((x.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _uint8(x: Any) -> Any:
    """Round and clip `x`, which is overwritten: no second array for a large picture."""
    if _kit(x) is np:
        return np.clip(np.rint(x, out=x), 0, 255, out=x).astype(np.uint8)
    return x.round_().clamp_(0, 255).byte()


# A table is ten times as fast as the power function.
_LINEAR_OF_BYTE = linear_from_srgb(np.arange(256, dtype=np.float64) / 255).astype(np.float32)


def lab8_from_rgb8(rgb: UInt8Array) -> UInt8Array:
    """Convert uint8 sRGB to 8-bit Lab: L*255/100, a+128, b+128, as OpenCV and the Kaggle set.

    Computed in float32; OpenCV's own 8-bit conversion is off by up to 2.7.
    """
    planes = (np.take(_LINEAR_OF_BYTE, rgb[..., i]) for i in range(3))
    lightness, a, b = _lab_planes(*planes)
    lab8 = np.empty(rgb.shape, np.uint8)
    # Adding a half and truncating rounds; all of sRGB fits into the bytes, so nothing is clipped.
    lab8[..., 0] = lightness * np.float32(255 / L_MAX) + np.float32(0.5)
    lab8[..., 1] = a + np.float32(AB_OFFSET + 0.5)
    lab8[..., 2] = b + np.float32(AB_OFFSET + 0.5)
    return lab8


def rgb8_from_lab8(lab8: UInt8Array) -> UInt8Array:
    """Convert 8-bit Lab to uint8 sRGB."""
    lab = lab8.astype(np.float32)
    lab[..., 0] *= L_MAX / 255
    lab[..., 1:] -= AB_OFFSET
    return cast(UInt8Array, uint8_from_unit(rgb_from_lab(lab)))


def gray8_from_rgb8(rgb: UInt8Array) -> UInt8Array:
    """Return the BT.601 luma `(...)` of uint8 sRGB `(..., 3)`, rounded to uint8."""
    return cast(UInt8Array, _uint8(rgb.astype(np.float32) @ np.asarray(BT601_LUMA, np.float32)))


def chroma_and_hue(lab: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return chroma (0..) and hue (radians, -pi..pi) of Lab `(..., 3)`, each `(...)`."""
    a, b = lab[..., 1], lab[..., 2]
    return np.sqrt(a * a + b * b), np.arctan2(b, a)
