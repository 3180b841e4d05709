"""The learning rate schedule, and the exponential moving average (EMA) of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from colorgan.config import TrainParams


def learning_rate(iteration: int, per_epoch: int, train: TrainParams) -> float:
    """Return the learning rate of `iteration`, counted from 0; an epoch has `per_epoch`.

    It is a function of the iteration, so a checkpoint keeps nothing of it. It rises linearly in
    the first `warmup_iterations` (Goyal et al. 2017) and falls over the epochs after `decay_start`:
    `linear` in equal steps an epoch, as in pix2pix's code; `cosine` along half a cosine, each
    iteration (Loshchilov and Hutter 2016).
    """
    decay_epochs = round((1 - train.decay_start) * train.epochs)
    decaying = decay_epochs * per_epoch
    into_decay = iteration - (train.epochs * per_epoch - decaying)
    factor = 1.0
    if into_decay >= 0 and decaying:
        if train.lr_schedule == "linear":
            factor = 1.0 - (into_decay // per_epoch + 1) / (decay_epochs + 1)
        else:
            factor = 0.5 * (1.0 + math.cos(math.pi * into_decay / decaying))
    return train.lr * (factor * min(1.0, (iteration + 1) / (train.warmup_iterations + 1)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, iteration: int) -> None:
    """Update the moving average of a network's weights after `iteration`, counted from 0.

    The decay is smaller in the first iterations, so that the initial weights are soon forgotten.

    Source: Yazici et al. 2018, "The Unusual Effectiveness of Averaging in GAN Training"; the
    growing decay is that of TensorFlow's ExponentialMovingAverage.
    """
    decay = min(decay, (1 + iteration) / (10 + iteration))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
