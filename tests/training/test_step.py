"""One update of each network, held against the same thing written out plainly."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from colorgan.config import SPACES
from colorgan.training.step import TrainingStep

Batch = Callable[..., tuple[Tensor, Tensor]]


def towards(logits: Tensor, label: float) -> Tensor:
    p = torch.sigmoid(logits.double())
    return -(label * p.log() + (1 - label) * (1 - p).log()).mean()


@pytest.mark.parametrize("space", SPACES)
def test_it_is_the_usual_step(
    make_step: Callable[..., TrainingStep], batch: Batch, space: str
) -> None:
    """The usual one: the generator runs anew for its own update, the discriminator sees a cat."""
    step = make_step(space, train__lambda_l1=10)
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
        loss_d = (towards(d_real, 1) + towards(d_fake, 0)) / 2
        adam_d.zero_grad()
        loss_d.backward()
        adam_d.step()

        fake = generator(input)
        loss_gan = towards(judge(fake), 1)
        loss_l1 = (fake - target).abs().mean()
        adam_g.zero_grad()
        (loss_gan + 10 * loss_l1).backward()
        adam_g.step()

        for name, ours, plain in zip(
            step.loss_names, losses, (loss_d, loss_gan, loss_l1), strict=True
        ):
            assert ours.item() == pytest.approx(plain.item(), rel=1e-4, abs=1e-6), name
    for ours, plain in ((step.generator, generator), (step.discriminator, discriminator)):
        for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
            # An update moves a weight by about 2e-4: these are the same updates.
            torch.testing.assert_close(a, b, atol=2e-5, rtol=0, msg=name)


def weights(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def same(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def test_bf16_is_close_to_float32(make_step: Callable[..., TrainingStep], batch: Batch) -> None:
    exact = make_step().train_step(*batch(), 0)
    half = make_step(train__amp="bf16").train_step(*batch(), 0)
    for a, b in zip(exact, half, strict=True):
        assert b.dtype == torch.float32
        assert a.item() != b.item()
        assert b.item() == pytest.approx(a.item(), rel=0.02)


def test_the_discriminator_joins_after_the_first_epochs(make_step, batch) -> None:
    step = make_step(train__gan_start=0.5, per_epoch=2)
    before_d, before_g = weights(step.discriminator), weights(step.generator)
    for iteration in range(2):
        loss_d, loss_gan, loss_l1 = step.train_step(*batch(), iteration).tolist()
        assert (loss_d, loss_gan) == (0, 0)
        assert loss_l1 > 0
    assert same(before_d, weights(step.discriminator))
    assert not any(map(torch.equal, before_g, weights(step.generator)))
    assert step.train_step(*batch(), 2)[:2].min() > 0
    assert not same(before_d, weights(step.discriminator))


def test_a_discriminator_that_guesses_is_not_heard(make_step, batch) -> None:
    """Only the L1 loss, whose weight is 0, is left for the generator."""
    for gate, moves in ((0.0, True), (100.0, True), (1e-6, False)):
        step = make_step(train__gan_gate=gate, train__lambda_l1=0)
        before = weights(step.generator)
        step.train_step(*batch(), 0)
        assert same(before, weights(step.generator)) != moves


def test_the_discriminator_sees_generated_photos_with_more_chroma(make_step, batch) -> None:
    seen: list[Tensor] = []
    step = make_step("rgb", train__fake_chroma=1.5)
    step.discriminator.register_forward_pre_hook(lambda network, given: seen.append(given[1]))
    input, target = batch("rgb")
    with torch.no_grad():
        fake = deepcopy(step.generator)(input)
    step.train_step(input, target, 0)
    for shown in (seen[0], seen[2]):
        torch.testing.assert_close(shown, input + 1.5 * (fake - input))
    assert torch.equal(seen[1], target)
