"""Both networks as they are built: weights, optimizers, compilation, normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colorgan.config import SPACES
from colorgan.training.step import TrainingStep

Batch = Callable[..., tuple[Tensor, Tensor]]


def test_optimizers_are_those_of_the_parameters(make_step: Callable[..., TrainingStep]) -> None:
    betas = {"beta1": 0.4, "beta2": 0.98, "beta1_d": 0.3, "beta2_d": 0.9}
    step = make_step(train__lr=0.01, **{f"train__{name}": x for name, x in betas.items()})
    for network, optimizer, betas in (
        (step.generator, step.optimizer_g, (0.4, 0.98)),
        (step.discriminator, step.optimizer_d, (0.3, 0.9)),
    ):
        [group] = optimizer.param_groups
        assert (group["lr"], group["betas"], group["fused"]) == (0.01, betas, True)
        assert [id(w) for w in group["params"]] == [id(w) for w in network.parameters()]
    assert not step.scaler.is_enabled()


def test_networks_that_are_traced_compute_the_same(make_step, batch, monkeypatch) -> None:
    """As torch.compile sees them, without its compiler, which takes a minute."""
    torch_compile, asked = torch.compile, []

    def traced(network: Any, mode: str | None, dynamic: bool) -> Any:
        asked.append((mode, dynamic))
        return torch_compile(network, backend="aot_eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", traced)
    eager, step = make_step(), make_step(compile="default")
    assert asked == [(None, False)] * 2
    for iteration in range(2):
        expected = eager.train_step(*batch(), iteration)
        torch.testing.assert_close(step.train_step(*batch(), iteration), expected)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    # What is validated and saved is the network itself, under its own names.
    for name in ("generator", "discriminator"):
        state, expected = (getattr(one, name).state_dict() for one in (step, eager))
        assert state.keys() == expected.keys()
        for key, tensor in state.items():
            torch.testing.assert_close(tensor, expected[key], atol=2e-4, rtol=1e-3, msg=key)
    torch.compiler.reset()


@pytest.mark.parametrize("space", SPACES)
def test_training_against_the_projected_discriminator(make_step, batch, space) -> None:
    step = make_step(space, 64, model__discriminator="projected")
    judges: nn.Module = step.discriminator.judges  # type: ignore[assignment]
    weights = [p for p in judges.parameters() if p.ndim > 1]
    before = [weight.clone() for weight in weights]
    loss_d, loss_gan, _ = step.train_step(*batch(space, 64), 0).tolist()
    assert 0.5 < loss_d < 1.5
    assert loss_gan != 0
    assert not any(map(torch.equal, before, weights))
