"""Flips, crops and noise: input and target move alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from colorgan.config import Params
from colorgan.data.loader import Batch
from colorgan.runs.runtime import Group
from colorgan.spaces import get_space
from colorgan.training.augment import AugmentationDraws, add_noise, augment, prepare_batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(photos: int = 64, seed: int = 0) -> AugmentationDraws:
    return AugmentationDraws.draw(photos, generator(seed))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Input (N, 1, H, W); the target is the input and its negative, so that it shows each move."""
    input = torch.rand(64, 1, 32, 32, generator=generator(1)) * 2 - 1
    return input, torch.cat((input, -input), 1)


@pytest.mark.parametrize(("flip", "jitter"), [(True, 0.0), (False, 0.117), (True, 0.3)])
def test_input_and_target_move_alike(batch, flip: bool, jitter: float) -> None:
    input, target = augment(*batch, draws(), flip=flip, jitter=jitter)
    assert input.shape == batch[0].shape
    assert input.dtype == target.dtype == torch.float32
    assert not torch.equal(input, batch[0])
    torch.testing.assert_close(target, torch.cat((input, -input), 1))


def test_half_of_the_photos_are_mirrored(batch) -> None:
    input, _ = augment(*batch, draws(), flip=True, jitter=0.0)
    kept = (input == batch[0]).all(dim=(1, 2, 3))
    mirrored = (input == batch[0].flip(-1)).all(dim=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 20 < mirrored.sum() < 44


def test_a_crop_is_a_part_of_the_enlarged_photo() -> None:
    """On ramps of x and y each crop is a stretch 1 / 1.25 as long, somewhere inside."""
    side, zoom = 64, 1.25
    middles = (torch.arange(side) + 0.5) / side
    ramps = torch.stack((middles.expand(side, side), middles[:, None].expand(side, side)))
    photos = ramps.expand(200, 2, side, side)
    x, y = augment(photos[:, :1], photos[:, 1:], draws(200), flip=False, jitter=0.25)
    inner = slice(4, -4)  # the border is clamped by half a pixel
    for ramp, along in ((x[:, 0], 2), (y[:, 0], 1)):
        steps = ramp.diff(dim=along)[:, inner, inner]
        torch.testing.assert_close(steps, torch.full_like(steps, 1 / (side * zoom)))
        starts = ramp.amin(dim=(1, 2))
        assert starts.min() >= 0
        assert ramp.max() <= 1
        # Anywhere: also near both ends of what is left over.
        assert starts.min() < 0.03
        assert starts.max() > 1 - 1 / zoom - 0.03
    corners = torch.stack((x[:, 0, 0, 0], y[:, 0, 0, 0]))
    assert torch.corrcoef(corners)[0, 1].abs() < 0.3


@pytest.fixture
def uint8_batch() -> Batch:
    input = torch.randint(0, 256, (8, 32, 32), generator=generator(5), dtype=torch.uint8)
    return input, torch.randint(0, 256, (8, 32, 32, 2), generator=generator(6), dtype=torch.uint8)


@pytest.fixture
def prepare(
    make_params: Callable[..., Params], uint8_batch: Batch
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Return a function that prepares a process's share of the same batch."""

    def prepare(iteration: int, group: Group = Group(), **train: object):  # noqa: B008 (frozen)
        changes = {f"train.{name}": value for name, value in train.items()}
        cfg = make_params({"train.jitter": 0.2, "train.noise": 0.1} | changes).lab.train
        share = 8 // group.world_size
        own = slice(group.rank * share, (group.rank + 1) * share)
        batch = uint8_batch[0][own], uint8_batch[1][own]
        return prepare_batch(get_space("lab"), cfg, batch, iteration, group)

    return prepare


def test_a_batch_depends_on_its_iteration_alone(prepare) -> None:
    first = prepare(5)
    torch.manual_seed(3)
    prepare(0)
    assert all(map(torch.equal, first, prepare(5)))
    assert not torch.equal(first[0], prepare(6)[0])


def test_a_group_augments_as_one_process(prepare) -> None:
    parts = [prepare(5, Group(rank, rank, 4)) for rank in range(4)]
    for whole, shares in zip(prepare(5), zip(*parts, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(shares))


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_layout(prepare, channels_last: bool) -> None:
    _, target = prepare(0, channels_last=channels_last)
    assert target.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert target.is_contiguous() is not channels_last


def gray_photos(space, photos: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded photos of one gray, with the target that has a colour beside it."""
    input = torch.zeros(photos, space.in_channels, 32, 32)
    return input, space.gray_output(input) + 0.25


@pytest.mark.parametrize("name", ["rgb", "lab"])
def test_half_of_the_photos_get_noise_of_their_own_strength(name: str) -> None:
    space = get_space(name)
    noisy, target = add_noise(space, *gray_photos(space), draws(200), 0.1)
    strengths = noisy[:, 0].flatten(1).std(dim=1) / 2
    assert 70 < (strengths > 0).sum() < 130
    assert strengths.max() == pytest.approx(0.1, rel=0.1)
    assert 0.03 < strengths[strengths > 0].mean() < 0.07
    # Gray stays gray, and the colour to be found is the same on it.
    assert (noisy == noisy[:, :1]).all()
    assert torch.allclose(target - space.gray_output(noisy), torch.tensor(0.25), atol=1e-6)
