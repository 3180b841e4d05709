"""Training against the discriminator that looks through a network that has seen ImageNet."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from colorgan.training.step import Pix2Pix


@pytest.mark.parametrize("space", ["rgb", "lab"])
def test_a_generator_trains_against_it(
    space: str,
    make_step: Callable[..., Pix2Pix],
    batch: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    step = make_step(space, 64, model__discriminator="projected", train__gan_loss="hinge")
    judges: nn.Module = step.discriminator.judges  # type: ignore[assignment]
    # Of biases those of the last layers stay: hinge pushes both kinds of pictures alike.
    weights = [p for p in judges.parameters() if p.ndim > 1]
    before = [weight.clone() for weight in weights]
    loss_d, loss_gan, _ = step.train_step(*batch(space, 64), 0).tolist()
    assert 0.5 < loss_d < 1.5
    assert loss_gan != 0
    assert not any(map(torch.equal, before, weights))
