"""`frechet_lite2`: how alike two sets of pictures look to a network that has seen ImageNet.

Its own measure, with its own name: other features than those of FID, on another scale.
"""

from __future__ import annotations

import importlib.util
import math
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.networks.backbones import PACKAGED, create_backbone, load_backbone, packaged_weights

Float64Array = npt.NDArray[np.float64]

NAME = "frechet_lite2"
WEIGHTS = "efficientnet_lite2"
SIDE = 224
"""Pixels to which pictures are brought; at another size the distances are other numbers."""
FEATURES = 1280
AT_A_TIME = 32
"""Pictures that the network sees at once: its activations take some 10 MB each."""
NEGLIGIBLE = 1e-12
"""A variance of less than this share of the largest is rounding, where the true one is 0."""


class FrechetLite2:
    """Frechet distance between sets of pictures and the truth, fed in batches.

    |m - m'|^2 + tr(S + S' - 2 (S S')^(1/2)) of the means m and covariances S of the 1280 pooled
    features of EfficientNet-Lite2 with its ImageNet weights; 0 and up, lower is better. Pictures
    are brought to 224x224 pixels (bilinear, antialiased) and scaled to [-1, 1]; the network runs in
    float32, the statistics are in float64. The network was trained at 260 px; at 224 a picture
    takes 25 to 30 ms on a core instead of 32 to 41, and noise that one hardly sees (sigma 4 of 255)
    weighs less beside the colours: 73% of what leaving the photo gray does, at 260 px 89%.

    It is too large by an amount that grows as the photos get fewer: two halves of the same 400
    photos are 150 apart, a set and a slight change of it are not. Up to 1280 photos the covariances
    do not even have full rank. Compare it only between models measured on the same photos.

    The truth is looked at once and kept, so that epoch after epoch can be measured against it:

        frechet = FrechetLite2(device)
        frechet.update_truth(photos)                    # once for each batch of the split
        frechet.update(pictures)                        # each batch of an epoch
        distance = frechet.compute()
        frechet.reset()                                 # forgets the pictures, not the truth

    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions"
    (1982); its use on features of a network: Heusel et al. (2017).

    Args:
        device: where the network runs; the CPU takes the place of Apple's MPS, as for FID.

    Raises:
        ColorganError: timm or the package with the weights is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        self._features = Lite2Features(torch.device("cpu") if device.type == "mps" else device)
        self._truth = Moments()
        self._pictures: dict[str, Moments] = defaultdict(Moments)

    @property
    def true_photos(self) -> int:
        """The photos of the truth that it has seen."""
        return self._truth.count

    def update_truth(self, photos: UInt8Array) -> None:
        """Take in photos `(N, H, W, 3)` uint8 sRGB of the truth."""
        self._truth.update(self._features(photos))

    def update(self, pictures: UInt8Array, kind: str = "generated") -> None:
        """Take in pictures `(N, H, W, 3)` uint8 sRGB; every kind is a set of its own."""
        self._pictures[kind].update(self._features(pictures))

    def compute(self, kind: str = "generated") -> float:
        """Return the distance of a kind of pictures from the truth; NaN below two of either."""
        return frechet_distance(self._pictures[kind], self._truth)

    def reset(self) -> None:
        """Forget the pictures of every kind; the truth stays."""
        self._pictures.clear()


class Lite2Features:
    """The pooled features of EfficientNet-Lite2.

    Raises:
        ColorganError: a package is missing.
    """

    def __init__(self, device: torch.device) -> None:
        _require_packages()
        # Weights are drawn before they are loaded: a training around this draws what it would.
        with torch.random.fork_rng(devices=[]):
            network = create_backbone(PACKAGED[WEIGHTS][0], num_classes=0)
            load_backbone(network, packaged_weights(WEIGHTS), WEIGHTS)
        network.eval().requires_grad_(False)
        # Channels last is twice as fast on a CPU.
        self._network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    @torch.inference_mode()
    def __call__(self, pictures: UInt8Array) -> Float64Array:
        """Return features `(N, 1280)`, float64, of pictures `(N, H, W, 3)` uint8 sRGB."""
        parts = [
            self._of_few(torch.from_numpy(pictures[start : start + AT_A_TIME]))
            for start in range(0, len(pictures), AT_A_TIME)
        ]
        return np.concatenate([np.empty((0, FEATURES)), *parts])

    def _of_few(self, pictures: Tensor) -> Float64Array:
        x = color.centred_from_uint8(pictures.to(self._device), 127.5, 127.5).movedim(-1, 1)
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        # float32 in earnest: cuDNN would round to TF32 where it may.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            features: Tensor = self._network(x.contiguous(memory_format=torch.channels_last))
        return features.cpu().double().numpy()


class Moments:
    """Number, mean and covariance of features, of which one batch is held at a time.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances" (1979): no large sums are subtracted, so that variances of 0 come out as
    nearly that, and few photos as the few directions they span.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Float64Array = np.zeros(())
        self._scatter: Float64Array = np.zeros(())
        self._root: Float64Array | None = None

    def update(self, features: Float64Array) -> None:
        """Take in features `(N, D)`, float64."""
        if not len(features):
            return
        total = self.count + len(features)
        mean = features.mean(axis=0)
        apart = mean - self.mean
        centred = features - mean
        between = np.outer(apart, apart) * (self.count * len(features) / total)
        self._scatter = self._scatter + centred.T @ centred + between
        self.mean = self.mean + apart * (len(features) / total)
        self.count = total
        self._root = None

    @property
    def covariance(self) -> Float64Array:
        """The unbiased covariance `(D, D)`; needs two photos."""
        return self._scatter / (self.count - 1)

    @property
    def root(self) -> Float64Array:
        """A matrix R `(D, rank)` with R R^T = covariance; computed once."""
        if self._root is None:
            variances, directions = np.linalg.eigh(self.covariance)
            real = variances > NEGLIGIBLE * variances[-1]
            self._root = directions[:, real] * np.sqrt(variances[real])
        return self._root


def frechet_distance(pictures: Moments, truth: Moments) -> float:
    """Return the Frechet distance between two normal distributions; NaN without a covariance.

    With S' = R R^T the eigenvalues of S S' are those of the symmetric R^T S R and zeros. This is
    exact where the rank is low and takes a tenth of a second for 859 photos; torchmetrics looks
    for the eigenvalues of S S' itself, which is slower and, with few photos, off by 1e-4.
    """
    if min(pictures.count, truth.count) < 2:
        return math.nan
    product = np.linalg.eigvalsh(truth.root.T @ pictures.covariance @ truth.root)
    distance = (
        np.square(pictures.mean - truth.mean).sum()
        + np.trace(pictures.covariance)
        + np.square(truth.root).sum()
        - 2 * np.sqrt(product.clip(min=0)).sum()
    )
    return max(float(distance), 0.0)


def _require_packages() -> None:
    """Say in one sentence what is missing and how to get it."""
    package = PACKAGED[WEIGHTS][1]
    missing = [name for name in ("timm", package) if importlib.util.find_spec(name) is None]
    if missing:
        names = [name.replace("_", "-") for name in missing]
        raise ColorganError(
            f"evaluate.frechet is true, but {' and '.join(names)} "
            f"{'is' if len(names) == 1 else 'are'} not installed: `pip install {' '.join(names)}`, "
            "or set evaluate.frechet to false in params.yaml"
        )
