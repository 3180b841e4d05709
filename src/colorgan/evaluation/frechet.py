"""Distances on network features, over a whole split: `frechet_lite2`, FID and LPIPS."""

from __future__ import annotations

import http.client
import math
import socket
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.config import EvaluateParams
from colorgan.errors import ColorganError
from colorgan.networks.backbones import frozen_backbone

Float64Array = npt.NDArray[np.float64]

COMPARED = ("generated", "gray")
"""Kinds of pictures whose FID and LPIPS are measured."""
SIDE = 224
"""Pictures are resized to this many pixels; other sizes give other distances."""
CHUNK = 32
"""Pictures per forward pass: the activations take about 10 MB each."""
NEGLIGIBLE = 1e-12
"""Variances below this share of the largest are rounding errors of 0."""
DOWNLOAD_TIMEOUT_S = 30.0


class NetworkDistances:
    """Computes the distances of kinds of pictures from the truth, updated batch by batch.

    `frechet_lite2`: `frechet_distance` on features of EfficientNet-Lite2. Our own measure: it is on
        another scale than FID.
    `fid`: Frechet distance on Inception features (2048, pool 3), by torchmetrics.
    `lpips`: mean distance of AlexNet features of a picture and its truth, 0 to about 1, by
        torchmetrics.

    Lower is better for all three. Both Frechet distances are too large on few photos (two halves of
    the same 400 photos are 150 apart by `frechet_lite2`) and NaN for a single photo: compare them
    only on the same photos.

    Source: Heusel et al. (2017) for FID, Zhang et al. (2018) for LPIPS.

    The networks run on `device`, but on the CPU instead of Apple's MPS, which lacks float64.

    Raises:
        ColorganError: a network could not be loaded; names the package or the parameter.
    """

    def __init__(self, cfg: EvaluateParams, device: torch.device) -> None:
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._features = Lite2Features(self._device) if cfg.frechet else None
        self._moments: dict[str, Moments] = defaultdict(Moments)
        self._fid = self._load("fid") if cfg.fid else {}
        self._lpips = self._load("lpips") if cfg.lpips else {}

    def _load(self, name: str) -> dict[str, Any]:
        """Return one metric per kind of picture; its weights are downloaded the first time."""
        timeout = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
        try:
            # torchmetrics takes seconds to import, and most evaluations do without it.
            from torchmetrics.image import fid, lpip

            build: dict[str, Callable[[], Any]] = {
                "fid": lambda: fid.FrechetInceptionDistance(feature=2048),
                "lpips": lambda: lpip.LearnedPerceptualImagePatchSimilarity("alex", normalize=True),
            }
            return {kind: build[name]().to(self._device) for kind in COMPARED}
        except (OSError, RuntimeError, ImportError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ColorganError(
                f"evaluate.{name} is true, but the weights of its network could not be loaded "
                f"({reason}): set evaluate.{name} to false in params.yaml, or run once with a "
                "connection to the internet"
            ) from None
        finally:
            socket.setdefaulttimeout(timeout)

    @torch.inference_mode()
    def update(self, batch: Mapping[str, UInt8Array]) -> None:
        """Add photos: `truth`, the kinds of `COMPARED` and any others, each `(N, H, W, 3)`."""
        if self._features:
            for kind, shown in batch.items():
                self._moments[kind].update(self._features(shown))
        for kind in COMPARED:
            pictures, truth = self._tensor(batch[kind]), self._tensor(batch["truth"])
            if self._fid:
                self._fid[kind].update(truth, real=True)
                self._fid[kind].update(pictures, real=False)
            if self._lpips:
                self._lpips[kind].update(pictures / 255, truth / 255)

    def compute(self) -> dict[str, dict[str, float]]:
        """Return the distances by name, for each kind but the truth."""
        values: dict[str, dict[str, float]] = defaultdict(dict)
        for kind, moments in self._moments.items():
            if kind != "truth":
                values[kind]["frechet_lite2"] = frechet_distance(moments, self._moments["truth"])
        for kind in COMPARED:
            if self._fid:
                metric = self._fid[kind]
                several = int(metric.real_features_num_samples) > 1
                values[kind]["fid"] = float(metric.compute()) if several else math.nan
            if self._lpips:
                values[kind]["lpips"] = float(self._lpips[kind].compute())
        return values

    def _tensor(self, pictures: UInt8Array) -> Tensor:
        """Return pictures `(N, H, W, 3)` as uint8 `(N, 3, H, W)` on the device."""
        return torch.from_numpy(pictures).to(self._device).movedim(-1, 1)


class Lite2Features:
    """The 1280 pooled features of EfficientNet-Lite2 with its ImageNet weights.

    Pictures are resized to 224x224 pixels (bilinear, antialiased) and scaled to [-1, 1]. The
    network was trained at 260 px; at 224 it is faster, and noise that one hardly sees weighs less
    beside the colours.

    Raises:
        ColorganError: timm or the package with the weights is not installed.
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
        x = color.centred_from_uint8(pictures.to(self._device), 127.5, 127.5).movedim(-1, 1)
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
    (fewer photos than features), where the matrix root of torchmetrics is slower and off by 1e-4.

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
