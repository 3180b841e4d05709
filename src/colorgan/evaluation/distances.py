"""What networks measure of a whole test split, rather than of a photo on its own."""

from __future__ import annotations

from typing import Protocol

import torch

from colorgan.config import EvaluateParams
from colorgan.evaluation import frechet
from colorgan.evaluation.photo import COMPARED
from colorgan.model import ColoredBatch


class Distances(Protocol):
    """One or more distances between pictures and their truth, fed in batches."""

    def update(self, batch: ColoredBatch) -> None:
        """Take in the pictures of a batch."""

    def compute(self) -> dict[str, dict[str, float]]:
        """Return the distances by name, for each kind of `COMPARED`."""


def distances(params: EvaluateParams, device: torch.device) -> list[Distances]:
    """Return the distances that are asked for, their networks loaded.

    Raises:
        ColorganError: a network or its weights could not be had; names the parameter.
    """
    asked: list[Distances] = []
    if params.frechet:
        asked.append(FrechetOfKinds(device))
    if params.fid or params.lpips:
        # Imported here: torchmetrics takes seconds, and most evaluations do without.
        from colorgan.evaluation.learned import LearnedMetrics

        asked.append(LearnedMetrics(params, device))
    return asked


class FrechetOfKinds:
    """`frechet_lite2` of the generated and of the gray pictures, against one truth."""

    def __init__(self, device: torch.device) -> None:
        """Load the network."""
        self._frechet = frechet.FrechetLite2(device)

    def update(self, batch: ColoredBatch) -> None:
        """Take in the pictures of a batch."""
        self._frechet.update_truth(batch.truth)
        for kind in COMPARED:
            self._frechet.update(getattr(batch, kind), kind)

    def compute(self) -> dict[str, dict[str, float]]:
        """Return `frechet_lite2` by kind of picture; NaN for a single photo."""
        return {kind: {frechet.NAME: self._frechet.compute(kind)} for kind in COMPARED}
