"""FID and LPIPS: distances measured by networks, whose weights torchmetrics downloads.

Imported only when `evaluate.fid` or `evaluate.lpips` is true: both default to false, so that the
pipeline runs where no hub can be reached.
"""

from __future__ import annotations

import http.client
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

from colorgan.color import UInt8Array
from colorgan.config import EvaluateParams
from colorgan.errors import ColorganError
from colorgan.evaluation.photo import COMPARED
from colorgan.model import ColoredBatch

PATIENCE_S = 30.0
"""Seconds without an answer after which a download counts as failed."""


class LearnedMetrics:
    """FID and LPIPS of the generated and of the gray pictures, as far as they are asked for.

    FID: the Frechet distance between the Inception features (2048, pool 3) of the pictures and
    of the truth over the whole split, 0 and up, lower is better; NaN for a single photo. It
    depends on the number of photos (below some thousands it is too large): compare it only
    between models measured on the same split.
    LPIPS: the mean distance between AlexNet features of a picture and its truth, 0 to about 1,
    lower is better.

    Source: Heusel et al. (2017) and Zhang et al. (2018), by torchmetrics.

    Args:
        params: `fid` and `lpips` say which are measured.
        device: where the networks run; Apple's MPS lacks float64, the CPU takes its place.

    Raises:
        ColorganError: the weights could not be loaded; names the parameter.
    """

    def __init__(self, params: EvaluateParams, device: torch.device) -> None:
        """Load the networks that are asked for."""
        self.device = torch.device("cpu") if device.type == "mps" else device
        self._fid: dict[str, Any] = {}
        self._lpips: dict[str, Any] = {}
        if params.fid:
            self._fid = self._load("fid", lambda: FrechetInceptionDistance(feature=2048))
        if params.lpips:
            self._lpips = self._load(
                "lpips", lambda: LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
            )

    def _load(self, name: str, build: Callable[[], Any]) -> dict[str, Any]:
        with _weights_of(name):
            return {kind: build().to(self.device) for kind in COMPARED}

    @torch.inference_mode()
    def update(self, batch: ColoredBatch) -> None:
        """Take in the pictures of a batch."""
        truth = self._tensor(batch.truth)
        for kind in COMPARED:
            pictures = self._tensor(getattr(batch, kind))
            if self._fid:
                self._fid[kind].update(truth, real=True)
                self._fid[kind].update(pictures, real=False)
            if self._lpips:
                self._lpips[kind].update(pictures / 255, truth / 255)

    def compute(self) -> dict[str, dict[str, float]]:
        """Return `fid` and `lpips`, those asked for, by kind of picture."""
        values: dict[str, dict[str, float]] = {kind: {} for kind in COMPARED}
        for kind, metric in self._fid.items():
            # A single photo has no covariance.
            several = int(metric.real_features_num_samples) > 1
            values[kind]["fid"] = float(metric.compute()) if several else math.nan
        for kind, metric in self._lpips.items():
            values[kind]["lpips"] = float(metric.compute())
        return values

    def _tensor(self, pictures: UInt8Array) -> Tensor:
        """Return pictures `(N, H, W, 3)` as uint8 `(N, 3, H, W)` on the device."""
        return torch.from_numpy(pictures).to(self.device).movedim(-1, 1)


@contextmanager
def _weights_of(name: str) -> Iterator[None]:
    """Turn a failed download into one sentence, and a hub that never answers into a failure."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        yield
    except (OSError, RuntimeError, ImportError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ColorganError(
            f"evaluate.{name} is true, but the weights of its network could not be loaded "
            f"({reason}): set evaluate.{name} to false in params.yaml, or run once with a "
            "connection to the internet"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
