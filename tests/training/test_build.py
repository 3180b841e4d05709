"""Both networks as they are built, and trained with each normalisation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from colorgan import paths
from colorgan.config import SPACES, SpaceName
from colorgan.model import Model
from colorgan.training.step import Pix2Pix


def test_the_seed_alone_decides_the_weights(make_step: Callable[..., Pix2Pix]) -> None:
    def weights(seed: int) -> torch.Tensor:
        step = make_step(train__seed=seed)
        networks = step.generator, step.discriminator
        return torch.cat([w.detach().flatten() for n in networks for w in n.parameters()])

    first = weights(1)
    torch.rand(100)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


def test_given_weights_are_the_generators_alone(make_step: Callable[..., Pix2Pix]) -> None:
    plain, given = make_step(), make_step(train__seed=2)
    state = {name: tensor.clone() for name, tensor in given.generator.state_dict().items()}
    step = make_step(weights=state, train__ema_decay=0.9)
    for network in (step.generator, step.kept_generator()):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name])
    for a, b in zip(step.discriminator.parameters(), plain.discriminator.parameters(), strict=True):
        assert torch.equal(a, b)
    # What is trained is a copy.
    next(step.generator.parameters()).data.zero_()
    assert state[next(iter(state))].any()


def test_optimizers_are_those_of_the_parameters(make_step: Callable[..., Pix2Pix]) -> None:
    step = make_step(train__lr=0.01, train__beta1=0.4, train__beta2=0.98)
    for network, optimizer in (
        (step.generator, step.optimizer_g),
        (step.discriminator, step.optimizer_d),
    ):
        [group] = optimizer.param_groups
        assert (group["lr"], group["betas"], group["fused"]) == (0.01, (0.4, 0.98), True)
        assert [id(w) for w in group["params"]] == [id(w) for w in network.parameters()]
    assert not step.scaler.is_enabled()


def test_alone_and_uncompiled_nothing_is_wrapped(make_step: Callable[..., Pix2Pix]) -> None:
    step = make_step()
    assert step.run_generator is step.group_generator is step.generator
    assert step.run_discriminator is step.group_discriminator is step.discriminator
    assert step.average is None
    assert step.kept_generator() is step.generator
    assert not isinstance(step.group_generator, DistributedDataParallel)


def test_one_process_has_no_need_of_sync_batchnorm(make_step: Callable[..., Pix2Pix]) -> None:
    step = make_step(train__sync_batchnorm=True)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in step.generator.modules())


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("space", SPACES)
def test_every_norm_trains_and_loads_back(
    write_arrays: Callable[..., Path], run: Callable[..., None], space: SpaceName, norm: str
) -> None:
    write_arrays(space)
    run(space, {"model.norm": norm})
    model = Model.load(paths.model(space))
    kinds = {type(module) for module in model.generator.modules()}
    known = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    assert kinds & set(known.values()) == {known[n] for n in known if n == norm}
    photos = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8)
    assert model.colorize_batch(photos).shape == (2, 32, 32, 3)
