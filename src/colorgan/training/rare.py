"""Weights that let rare colours count for more in L1."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]
from torch import Tensor

from colorgan import color
from colorgan.data.arrays import Split
from colorgan.spaces import Space

BIN = 10.0
"""Side of a bin of ab."""
REACH = 12
"""Bins from the middle to each side: all of sRGB lies within."""
SMOOTHING = 0.5
"""Standard deviation, in bins, of the Gaussian over the distribution."""
LEAST = 1e-5
"""Least share of a colour: what is rarer counts no more."""
PHOTOS = 1000
"""Photos, spread over the split, that the distribution is taken from."""
AT_A_TIME = 100
"""Photos of these that are looked at together."""


class RareColors:
    """Weights of the pixels of a batch, larger where the true colour is rare; 1 on average.

    They are p to the power of `-rare`, where p is the smoothed share of a pixel's bin of ab among
    the training photos.

    Args:
        space: what inputs and targets mean.
        photos: the training photos.
        rare: the exponent; at 0 all count alike, at 1 every colour there is counts as much as
            another.
        device: where the weights are asked for.

    Source: Zhang et al., "Colorful Image Colorization" (2016), section 2.2, where the weights are
    those of 1, mixed with equal ones; a power is gentler on regression.
    """

    def __init__(self, space: Space, photos: Split, rare: float, device: torch.device) -> None:
        self._space = space
        side = 2 * REACH + 1
        counts = torch.zeros(side * side, dtype=torch.float64)
        rows = np.linspace(0, len(photos) - 1, min(len(photos), PHOTOS)).round().astype(int)
        for start in range(0, len(rows), AT_A_TIME):
            part = photos.take(rows[start : start + AT_A_TIME].tolist())
            arrays = (torch.from_numpy(array[:].copy()) for array in (part.input, part.target))
            bins = self._bins(*space.encode(*arrays))
            counts += torch.bincount(bins.flatten(), minlength=len(counts))
        share = counts / counts.sum()
        smooth = gaussian_filter(share.view(side, side).numpy(), SMOOTHING).clip(min=LEAST)
        weights = torch.from_numpy(smooth).flatten() ** -rare
        self._weights = (weights / (weights * share).sum()).float().to(device)

    @torch.no_grad()
    def __call__(self, input: Tensor, target: Tensor) -> Tensor:
        """Return weights `(N, 1, H, W)` of an encoded input and target, the same for 2x2 pixels."""
        weights: Tensor = self._weights[self._bins(input, target)]
        return F.interpolate(weights.unsqueeze(1), scale_factor=2.0, mode="nearest")

    def _bins(self, input: Tensor, target: Tensor) -> Tensor:
        half = (F.avg_pool2d(x.float(), 2) for x in (input, target))
        lab = color.lab_from_rgb(self._space.decode(*half))
        a, b = ((lab[..., i] / BIN).round().long().clamp(-REACH, REACH) + REACH for i in (1, 2))
        bins: Tensor = a * (2 * REACH + 1) + b
        return bins


class EyeWeights:
    """Weights of the pixels of a batch, smaller where the true colour is strong; 1 on average.

    1 / sqrt(S_C S_H) with S_C = 1 + 0.045 C and S_H = 1 + 0.015 C, the scales of chroma and hue in
    the colour difference CIE94: the same step of ab is seen less the stronger a colour is.

    Args:
        space: what inputs and targets mean.

    Source: CIE 116-1995.
    """

    def __init__(self, space: Space) -> None:
        self._space = space

    @torch.no_grad()
    def __call__(self, input: Tensor, target: Tensor) -> Tensor:
        """Return weights `(N, 1, H, W)` of an encoded input and target, the same for 2x2 pixels."""
        half = (F.avg_pool2d(x.float(), 2) for x in (input, target))
        chroma, _ = color.chroma_and_hue(color.lab_from_rgb(self._space.decode(*half)))
        weights: Tensor = ((1 + 0.045 * chroma) * (1 + 0.015 * chroma)).rsqrt()
        weights = weights / weights.mean()
        return F.interpolate(weights.unsqueeze(1), scale_factor=2.0, mode="nearest")
