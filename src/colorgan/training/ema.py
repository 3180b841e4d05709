"""The exponential moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of the weights of `network` over its updates.

    Early on the decay is smaller, so that the random weights it began with are soon forgotten.

    Source: Polyak and Juditsky 1992; Yazici et al. 2018, "The Unusual Effectiveness of Averaging
    in GAN Training". The growing decay is that of TensorFlow's ExponentialMovingAverage.

    Attributes:
        network: the averaged network; its buffers (running statistics) are those of the original.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._averaged: list[Tensor] = list(self.network.parameters())
        self._present: list[Tensor] = list(network.parameters())
        self._buffers = list(zip(self.network.buffers(), network.buffers(), strict=True))

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take in the weights after `iteration`, counted from 0."""
        decay = min(self._decay, (1 + iteration) / (10 + iteration))
        torch._foreach_lerp_(self._averaged, self._present, 1 - decay)

    @torch.no_grad()
    def synchronise(self) -> None:
        """Copy the running statistics, before the network is used."""
        for averaged, present in self._buffers:
            averaged.copy_(present)
