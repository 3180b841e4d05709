"""Adversarial losses, computed by hand, and those between whole pictures."""

from __future__ import annotations

from math import log1p

import numpy as np
import pytest
import torch

from colorgan.color import UInt8Array
from colorgan.config import SPACES
from colorgan.evaluation.metrics import colorfulness
from colorgan.runs.runtime import Runtime
from colorgan.spaces import get_space
from colorgan.training.losses import CELLS, ColorfulnessLoss, PerceptualLoss, gan_loss


def logits(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(len(values), 1, 1, 1)


def softplus(x: float) -> float:
    return log1p(2.718281828459045**x)


def test_the_adversarial_loss_by_hand() -> None:
    given = logits(3, -0.5)
    as_real, as_fake = (softplus(-3) + softplus(0.5)) / 2, (softplus(3) + softplus(-0.5)) / 2
    assert gan_loss(given, real=True).item() == pytest.approx(as_real, rel=1e-5)
    assert gan_loss(given, real=False).item() == pytest.approx(as_fake, rel=1e-5)
    half = gan_loss(logits(0.3, -300).half(), real=True)
    assert half.dtype == torch.float32
    assert half.isfinite()


@pytest.mark.parametrize("space", SPACES)
def test_colourfulness_is_that_of_the_measure_seen_from_afar(
    space: str, real_photos: UInt8Array
) -> None:
    kind = get_space(space)
    input, target = (
        torch.from_numpy(np.stack(arrays))
        for arrays in zip(*(kind.arrays(photo) for photo in real_photos), strict=True)
    )
    encoded, truth = kind.encode(input, target)
    loss = ColorfulnessLoss(kind)
    assert loss(encoded, truth, truth).item() < 1e-6
    halves = kind.decode(*(torch.nn.functional.avg_pool2d(x, 2) for x in (encoded, truth)))
    n, side = len(halves), halves.shape[1] // CELLS
    cells = halves.reshape(n, CELLS, side, CELLS, side, 3).mean(dim=(2, 4))[:, 1:-1, 1:-1]
    measured = np.mean([colorfulness(255 * picture) for picture in cells.numpy()])
    gray = kind.gray_output(encoded)
    assert loss(encoded, gray, truth).item() == pytest.approx(measured / 100, rel=0.02)


def test_a_line_along_an_edge_is_no_way_to_colour() -> None:
    """Two rows at the edge count for nothing, one within for less than the measure thinks."""
    kind = get_space("lab")
    input, target = torch.zeros(1, 1, 128, 128), torch.full((1, 2, 128, 128), 0.3)
    pale = torch.zeros_like(target)
    edge, within, everywhere = pale.clone(), pale.clone(), torch.full_like(target, 0.02)
    edge[:, :, :2] = within[:, :, 64:65] = 0.64
    loss = {
        name: ColorfulnessLoss(kind)(input, x, target).item()
        for name, x in (("pale", pale), ("edge", edge), ("within", within), ("all", everywhere))
    }
    assert loss["edge"] == pytest.approx(loss["pale"], abs=1e-6)
    assert loss["all"] < loss["pale"]
    measured = colorfulness((255 * kind.decode(input, within)).round().byte().numpy()).item()
    assert loss["pale"] - loss["within"] < 0.6 * measured / 100


@pytest.mark.parametrize("name", SPACES)
def test_the_perceptual_loss_is_about_colour(name: str, real_photos: UInt8Array) -> None:
    space = get_space(name)
    drawn = torch.random.get_rng_state()
    perceptual, faster = (
        PerceptualLoss(space, Runtime(torch.device("cpu"), precision), 96)
        for precision in ("off", "bf16")
    )
    assert torch.equal(torch.random.get_rng_state(), drawn)
    arrays = (np.stack(x) for x in zip(*map(space.arrays, real_photos), strict=True))
    input, target = space.encode(*map(torch.from_numpy, arrays))
    gray = space.gray_output(input)
    output = (0.5 * (gray + target)).requires_grad_()
    loss = perceptual(input, output, target)
    assert perceptual(input, target, target) < 1e-6
    assert 0 < loss < perceptual(input, gray, target)
    loss.backward()
    assert output.grad is not None
    # Towards the truth, on the whole.
    assert (output.grad * (target - output.detach())).sum() < 0
    torch.testing.assert_close(faster(input, output, target), loss, rtol=0.1, atol=0)
