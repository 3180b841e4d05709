"""One update of each network, held against the same thing written out plainly."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorgan.params import SPACES, Params
from colorgan.runtime import Runtime
from colorgan.spaces import get_space
from colorgan.training.loop import build_step
from colorgan.training.step import LOSSES, Pix2Pix

SIDE = 32


@pytest.fixture
def make_step(make_params: Callable[..., Params]) -> Callable[..., Pix2Pix]:
    """Return a function that builds both networks of a space, always with the same weights."""

    def make(space: str = "lab", **changes: object) -> Pix2Pix:
        tiny = {"model.ngf": 4, "model.ndf": 4, "model.dropout": 0.0}
        params = make_params(tiny | {name.replace("__", "."): v for name, v in changes.items()})
        torch.manual_seed(0)
        amp = params.rgb.train.amp
        runtime = Runtime(torch.device("cpu"), "off" if amp == "auto" else amp, False)  # type: ignore[arg-type]
        return build_step(get_space(space), params.space(space), SIDE, runtime)

    return make


def batch(space: str = "lab") -> tuple[Tensor, Tensor]:
    kind = get_space(space)
    random = torch.Generator().manual_seed(5)
    input = torch.randint(0, 256, (4, SIDE, SIDE), generator=random, dtype=torch.uint8)
    shape = (4, SIDE, SIDE, kind.out_channels)
    target = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    return kind.encode(input, target)


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
def test_it_is_the_usual_step(make_step: Callable[..., Pix2Pix], space: str, gan_loss: str) -> None:
    """The usual one: the generator runs anew for its own update, the discriminator sees a cat."""
    step = make_step(space, train__gan_loss=gan_loss, train__lambda_l1=10)
    input, target = batch(space)
    generator, discriminator = deepcopy(step.generator), deepcopy(step.discriminator)
    adam_g, adam_d = (
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999))
        for network in (generator, discriminator)
    )

    for _ in range(2):
        losses = step.train_step(input, target)

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


def test_both_networks_learn(make_step: Callable[..., Pix2Pix]) -> None:
    step = make_step()
    for network in (step.generator, step.discriminator):
        before = weights(network)
        step.train_step(*batch())
        moved = [not torch.equal(a, b) for a, b in zip(before, weights(network), strict=True)]
        assert all(moved)


def test_the_generators_update_leaves_the_discriminators_gradient_alone(
    make_step: Callable[..., Pix2Pix], monkeypatch: pytest.MonkeyPatch
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
    step.train_step(*batch())
    assert len(after_own_update) == len(list(step.discriminator.parameters()))
    for gradient, weight in zip(after_own_update, step.discriminator.parameters(), strict=True):
        assert torch.equal(gradient, weight.grad)
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in step.generator.parameters())
    assert before


def test_the_discriminators_update_leaves_the_generator_alone(
    make_step: Callable[..., Pix2Pix], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = make_step()
    before = weights(step.generator)
    zero = torch.zeros(())
    monkeypatch.setattr(Pix2Pix, "_update_generator", lambda *given: (zero, zero))
    step.train_step(*batch())
    assert all(torch.equal(a, b) for a, b in zip(before, weights(step.generator), strict=True))
    assert all(weight.grad is None for weight in step.generator.parameters())


def test_losses_stay_on_the_device_without_a_graph(make_step: Callable[..., Pix2Pix]) -> None:
    for loss in make_step().train_step(*batch()):
        assert loss.shape == ()
        assert loss.dtype == torch.float32
        assert not loss.requires_grad


def test_without_l1_only_the_discriminator_is_listened_to(
    make_step: Callable[..., Pix2Pix],
) -> None:
    input, target = batch()
    step = make_step(train__lambda_l1=0)
    other = make_step(train__lambda_l1=100)
    step.train_step(input, target)
    other.train_step(input, target)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(weights(step.generator), weights(other.generator), strict=True)
    )


def test_bf16_is_close_to_float32(make_step: Callable[..., Pix2Pix]) -> None:
    exact = make_step().train_step(*batch())
    half = make_step(train__amp="bf16").train_step(*batch())
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


def test_it_can_learn_one_batch_by_heart(make_step: Callable[..., Pix2Pix]) -> None:
    step = make_step(model__ngf=16, train__lr=0.002)
    input, target = batch()
    target = F.interpolate(target[..., ::8, ::8], SIDE, mode="bilinear")
    losses = [step.train_step(input, target)[2].item() for _ in range(80)]
    assert losses[-1] < losses[0] / 3
