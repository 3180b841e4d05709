"""The learning rate as a function of the iteration: a checkpoint has nothing of it to keep."""

from __future__ import annotations

import math

from colorgan.config import TrainParams


def lr_factor(iteration: int, per_epoch: int, train: TrainParams) -> float:
    """Return what the learning rate is multiplied by in `iteration`, counted from 0.

    Constant, then falling over the last `decay_epochs`: `linear` an equal step each epoch, as in
    pix2pix's code; `cosine` along half a cosine (Loshchilov and Hutter 2016), each iteration;
    `constant` not at all. In the first `warmup_iterations` it also rises linearly (Goyal et al.
    2017).
    """
    decaying = train.decay_epochs * per_epoch
    into_decay = iteration - (train.epochs * per_epoch - decaying)
    factor = 1.0
    if into_decay >= 0 and decaying:
        if train.lr_schedule == "linear":
            factor = 1.0 - (into_decay // per_epoch + 1) / (train.decay_epochs + 1)
        elif train.lr_schedule == "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * into_decay / decaying))
    return factor * min(1.0, (iteration + 1) / (train.warmup_iterations + 1))
