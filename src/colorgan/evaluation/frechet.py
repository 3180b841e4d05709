"""`frechet_lite2`: the Frechet distance of pictures from the truth on EfficientNet-Lite2 features.

A measure of our own, on another scale than FID; lower is better. It is too large on few photos (two
halves of the same 400 photos are 150 apart): compare it only on the same photos.

Source: Heusel et al. (2017), who measure it on Inception features (FID).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.color import UInt8Array
from colorgan.networks.backbones import frozen_backbone

Float64Array = npt.NDArray[np.float64]

SIDE = 224
"""Pictures are resized to this many pixels; other sizes give other distances."""
CHUNK = 32
"""Pictures per forward pass: the activations take about 10 MB each."""
NEGLIGIBLE = 1e-12
"""Variances below this share of the largest are rounding errors of 0."""


class Lite2Features:
    """The 1280 pooled features of EfficientNet-Lite2 with its ImageNet weights.

    Pictures are resized to 224x224 pixels (bilinear, antialiased) and scaled to [-1, 1]. The
    network was trained at 260 px; at 224 it is faster, and noise that one hardly sees weighs less
    beside the colours. ColorganError if timm or the weights are not installed.
    """

    def __init__(self, device: torch.device) -> None:
        network = frozen_backbone("efficientnet_lite2", num_classes=0)
        # channels_last is twice as fast on a CPU.
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    @torch.inference_mode()
    def __call__(self, pictures: UInt8Array) -> Float64Array:
        """Return features `(N, 1280)`, float64, of pictures `(N, H, W, 3)` uint8 sRGB."""
        chunks = torch.from_numpy(pictures).split(CHUNK)  # type: ignore[no-untyped-call]
        return np.concatenate([self._forward(chunk) for chunk in chunks])

    def _forward(self, pictures: Tensor) -> Float64Array:
        x = pictures.to(self._device).float().sub_(127.5).div_(127.5).movedim(-1, 1)
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        # Without TF32, which would round the activations.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features: Tensor = self._network(x.contiguous(memory_format=torch.channels_last))
        return features.cpu().double().numpy()


class Moments:
    """Count, mean and covariance of features `(N, D)`, updated batch by batch.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979). No large sums are subtracted, so a variance of 0 stays nearly 0.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Float64Array = np.zeros(())
        self._scatter: Float64Array = np.zeros(())

    def update(self, features: Float64Array) -> None:
        """Add features `(N, D)`, float64."""
        total = self.count + len(features)
        mean = features.mean(axis=0)
        apart = mean - self.mean
        centred = features - mean
        between = np.outer(apart, apart) * (self.count * len(features) / total)
        self._scatter = self._scatter + centred.T @ centred + between
        self.mean = self.mean + apart * (len(features) / total)
        self.count = total

    @property
    def covariance(self) -> Float64Array:
        """The unbiased covariance `(D, D)`; needs two photos."""
        return self._scatter / (self.count - 1)


def frechet_distance(pictures: Moments, truth: Moments) -> float:
    """Return the Frechet distance of two normal distributions, 0 and up; NaN below two photos.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) of means m and covariances S. With S' = R R^T, S S' has
    the eigenvalues of the symmetric R^T S R and zeros. This is exact for covariances of low rank
    (fewer photos than features), where SciPy's matrix root is slower and off by 1e-4.

    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions"
    (1982).
    """
    if min(pictures.count, truth.count) < 2:
        return math.nan
    variances, directions = np.linalg.eigh(truth.covariance)
    kept = variances > NEGLIGIBLE * variances[-1]
    root = directions[:, kept] * np.sqrt(variances[kept])
    product = np.linalg.eigvalsh(root.T @ pictures.covariance @ root)
    distance = (
        np.square(pictures.mean - truth.mean).sum()
        + np.trace(pictures.covariance)
        + np.square(root).sum()
        - 2 * np.sqrt(product.clip(min=0)).sum()
    )
    return max(float(distance), 0.0)
