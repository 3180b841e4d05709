"""One update of each network, held against the same thing written out plainly."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorgan.config import SPACES
from colorgan.runs.runtime import Group
from colorgan.training.step import LOSSES, Pix2Pix

Batch = Callable[..., tuple[Tensor, Tensor]]


def towards(logits: Tensor, label: float) -> Tensor:
    p = torch.sigmoid(logits.double())
    return -(label * p.log() + (1 - label) * (1 - p).log()).mean()


def plain_losses(
    name: str, d_real: Tensor, d_fake: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the discriminator's loss, and what makes the generator's of its logits."""
    if name == "vanilla":
        return (towards(d_real, 1) + towards(d_fake, 0)) / 2, lambda d: towards(d, 1)
    if name == "lsgan":
        return (F.mse_loss(d_real, torch.ones_like(d_real)) + (d_fake**2).mean()) / 2, (
            lambda d: F.mse_loss(d, torch.ones_like(d))
        )
    return (F.relu(1 - d_real).mean() + F.relu(1 + d_fake).mean()) / 2, lambda d: -d.mean()


@pytest.mark.parametrize("gan_loss", ["vanilla", "lsgan", "hinge"])
@pytest.mark.parametrize("space", SPACES)
def test_it_is_the_usual_step(
    make_step: Callable[..., Pix2Pix], batch: Batch, space: str, gan_loss: str
) -> None:
    """The usual one: the generator runs anew for its own update, the discriminator sees a cat."""
    step = make_step(space, train__gan_loss=gan_loss, train__lambda_l1=10)
    input, target = batch(space)
    generator, discriminator = deepcopy(step.generator), deepcopy(step.discriminator)
    adam_g, adam_d = (
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999))
        for network in (generator, discriminator)
    )

    for iteration in range(2):
        losses = step.train_step(input, target, iteration)

        def judge(picture: Tensor) -> Tensor:
            return discriminator.layers(torch.cat((input, picture), 1))

        with torch.no_grad():
            fake = generator(input)
        d_fake = judge(fake)
        d_real = judge(target)
        loss_d, of_generator = plain_losses(gan_loss, d_real, d_fake)
        adam_d.zero_grad()
        loss_d.backward()
        adam_d.step()

        fake = generator(input)
        loss_gan = of_generator(judge(fake))
        loss_l1 = (fake - target).abs().mean()
        adam_g.zero_grad()
        (loss_gan + 10 * loss_l1).backward()
        adam_g.step()

        for name, ours, plain in zip(LOSSES, losses, (loss_d, loss_gan, loss_l1), strict=True):
            assert ours.item() == pytest.approx(plain.item(), rel=1e-4, abs=1e-6), name
    for ours, plain in ((step.generator, generator), (step.discriminator, discriminator)):
        for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
            # An update moves a weight by about 2e-4: these are the same updates.
            torch.testing.assert_close(a, b, atol=2e-5, rtol=0, msg=name)


def weights(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def same(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_both_networks_learn(make_step: Callable[..., Pix2Pix], batch: Batch) -> None:
    step = make_step()
    for network in (step.generator, step.discriminator):
        before = weights(network)
        step.train_step(*batch(), 0)
        moved = [not torch.equal(a, b) for a, b in zip(before, weights(network), strict=True)]
        assert all(moved)


def test_the_generators_update_leaves_the_discriminators_gradient_alone(
    make_step: Callable[..., Pix2Pix], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step()
    after_own_update: list[Tensor] = []
    update = Pix2Pix._update_discriminator

    def observed(self: Pix2Pix, *given: Tensor) -> Tensor:
        loss = update(self, *given)
        after_own_update.extend(w.grad.clone() for w in self.discriminator.parameters())
        return loss

    monkeypatch.setattr(Pix2Pix, "_update_discriminator", observed)
    before = weights(step.generator)
    step.train_step(*batch(), 0)
    assert len(after_own_update) == len(list(step.discriminator.parameters()))
    for gradient, weight in zip(after_own_update, step.discriminator.parameters(), strict=True):
        assert torch.equal(gradient, weight.grad)
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in step.generator.parameters())
    assert before


def test_the_discriminators_update_leaves_the_generator_alone(
    make_step: Callable[..., Pix2Pix], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step()
    before = weights(step.generator)
    monkeypatch.setattr(Pix2Pix, "_update_generator", lambda *given: torch.zeros(2))
    step.train_step(*batch(), 0)
    assert same(before, weights(step.generator))
    assert all(weight.grad is None for weight in step.generator.parameters())


def test_losses_stay_on_the_device_without_a_graph(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    losses = make_step().train_step(*batch(), 0)
    assert losses.shape == (len(LOSSES),) == (3,)
    assert losses.dtype == torch.float32
    assert not losses.requires_grad


def test_without_l1_only_the_discriminator_is_listened_to(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    input, target = batch()
    step = make_step(train__lambda_l1=0)
    other = make_step(train__lambda_l1=100)
    step.train_step(input, target, 0)
    other.train_step(input, target, 0)
    assert not same(weights(step.generator), weights(other.generator))


def test_bf16_is_close_to_float32(make_step: Callable[..., Pix2Pix], batch: Batch) -> None:
    exact = make_step().train_step(*batch(), 0)
    half = make_step(train__amp="bf16").train_step(*batch(), 0)
    for a, b in zip(exact, half, strict=True):
        assert b.dtype == torch.float32
        assert a.item() != b.item()
        assert b.item() == pytest.approx(a.item(), rel=0.02)


def test_weights_are_those_of_the_seed_and_of_the_paper(make_step: Callable[..., Pix2Pix]) -> None:
    one, other = make_step(), make_step()
    for a, b in zip(weights(one.generator), weights(other.generator), strict=True):
        assert torch.equal(a, b)
    kernels = torch.cat([w.flatten() for w in weights(one.generator) if w.ndim == 4])
    assert kernels.std().item() == pytest.approx(0.02, rel=0.05)
    [group] = one.optimizer_g.param_groups
    assert (group["lr"], group["betas"]) == (2e-4, (0.5, 0.999))


def test_it_can_learn_one_batch_by_heart(make_step: Callable[..., Pix2Pix], batch: Batch) -> None:
    step = make_step(model__ngf=16, train__lr=0.002)
    input, target = batch()
    target = F.interpolate(target[..., ::8, ::8], 32, mode="bilinear")
    losses = [step.train_step(input, target, i)[2].item() for i in range(80)]
    assert losses[-1] < losses[0] / 3


# 64 px: the depth at which the U-Net drops out.
DROPPING = {"side": 64, "model__dropout": 0.5}


def test_dropout_depends_on_seed_and_iteration_alone(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    def losses(iteration: int, seed: int = 1) -> list[float]:
        step = make_step(**DROPPING)
        return replace(step, seed=seed).train_step(*batch(side=64), iteration).tolist()

    first = losses(7)
    torch.manual_seed(99)
    torch.rand(1000)
    assert losses(7) == first
    assert losses(8)[2] != first[2]
    assert losses(7, seed=2)[2] != first[2]


def test_processes_of_a_group_drop_out_different_values(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    def pictures(rank: int, part: int) -> Tensor:
        step = make_step(**DROPPING)
        runtime = replace(step.runtime, group=Group(rank, rank, 2))
        step = replace(step, runtime=runtime, accumulation_steps=2)
        return step._generate(batch(side=64)[0], 3, part).detach()

    some = [pictures(rank, part) for rank in (0, 1) for part in (0, 1)]
    assert torch.equal(some[0], pictures(0, 0))
    assert not any(torch.equal(a, b) for a, b in combinations(some, 2))


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_a_batch_in_parts_is_the_same_update(
    make_step: Callable[..., Pix2Pix], batch: Batch, norm: str
) -> None:
    """Where no photo depends on the others of its batch."""
    whole = make_step(model__norm=norm)
    losses = [whole.train_step(*batch(), i) for i in range(2)]
    for parts in (2, 4):
        step = make_step(model__norm=norm, train__accumulation_steps=parts)
        for i, expected in enumerate(losses):
            torch.testing.assert_close(step.train_step(*batch(), i), expected)
        for name in ("generator", "discriminator"):
            one, other = getattr(step, name), getattr(whole, name)
            for a, b in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-3)
                # Adam makes a whole step also of the rounding that is left of a gradient of 0, and
                # before instance norm a bias has no other.
                if norm == "none":
                    torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


def test_both_passes_of_a_part_drop_out_the_same(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    """The discriminator's update sees the very pictures that the generator's is about."""
    step = make_step(**DROPPING, train__accumulation_steps=2)
    passes: list[tuple[Tensor, bool]] = []
    step.generator.register_forward_hook(
        lambda network, given, picture: passes.append((picture.detach(), picture.requires_grad))
    )
    step.train_step(*batch(side=64), 5)
    assert [graph for _, graph in passes] == [False, False, True, True]
    assert torch.equal(passes[0][0], passes[2][0])
    assert torch.equal(passes[1][0], passes[3][0])


def test_a_batch_that_is_whole_is_generated_once(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    step = make_step(**DROPPING)
    passes: list[Tensor] = []
    step.generator.register_forward_hook(lambda network, given, out: passes.append(out))
    step.train_step(*batch(side=64), 5)
    assert len(passes) == 1


@pytest.mark.parametrize("parts", [1, 2])
def test_running_statistics_count_each_part_once(
    make_step: Callable[..., Pix2Pix], batch: Batch, parts: int
) -> None:
    step = make_step(train__accumulation_steps=parts)
    plain = deepcopy(step.generator)
    input, target = batch()
    step.train_step(input, target, 0)
    for part in input.chunk(parts):
        plain(part)
    for (name, ours), usual in zip(step.generator.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, usual, msg=name)
    norms = [m for m in step.generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == parts and norm.track_running_stats for norm in norms)


def length(network: nn.Module) -> float:
    return torch.stack([w.grad.norm() for w in network.parameters()]).norm().item()  # type: ignore[union-attr]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_long_gradient_is_shortened(
    make_step: Callable[..., Pix2Pix], batch: Batch, parts: int
) -> None:
    free = make_step(train__accumulation_steps=parts)
    free.train_step(*batch(), 0)
    long = {name: length(getattr(free, name)) for name in ("generator", "discriminator")}
    most = min(long.values()) / 2
    step = make_step(train__accumulation_steps=parts, train__grad_clip=most)
    # Adam's first step does not depend on a gradient's length: its means do.
    step.train_step(*batch(), 0)
    assert length(step.discriminator) == pytest.approx(most, rel=1e-3)
    assert length(step.generator) == pytest.approx(most, rel=1e-3)
    means = step.optimizer_d.state_dict()["state"], free.optimizer_d.state_dict()["state"]
    for i, mean in means[0].items():
        expected = means[1][i]["exp_avg"] * most / long["discriminator"]
        torch.testing.assert_close(mean["exp_avg"], expected, rtol=1e-3, atol=1e-9)


def test_no_limit_and_one_that_is_never_reached_are_the_same_to_the_bit(
    make_step: Callable[..., Pix2Pix], batch: Batch
) -> None:
    free, limited = make_step(train__grad_clip=0.0), make_step(train__grad_clip=1e6)
    for i in range(3):
        assert torch.equal(free.train_step(*batch(), i), limited.train_step(*batch(), i))
    for name in ("generator", "discriminator"):
        assert same(weights(getattr(free, name)), weights(getattr(limited, name)))
