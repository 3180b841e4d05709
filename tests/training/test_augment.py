"""Flips, crops and noise: input and target move alike."""

from __future__ import annotations

import pytest
import torch

from colorgan.spaces import get_space
from colorgan.training.augment import Moves, add_noise, augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moves(photos: int = 64, seed: int = 0) -> Moves:
    return Moves.draw(photos, generator(seed))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Input (N, 1, H, W); the target is the input and its negative, so that it shows each move."""
    input = torch.rand(64, 1, 32, 32, generator=generator(1)) * 2 - 1
    return input, torch.cat((input, -input), 1)


@pytest.mark.parametrize(("flip", "jitter"), [(True, 0.0), (False, 0.117), (True, 0.3)])
def test_input_and_target_move_alike(batch, flip: bool, jitter: float) -> None:
    input, target = augment(*batch, moves(), flip=flip, jitter=jitter)
    assert input.shape == batch[0].shape
    assert input.dtype == target.dtype == torch.float32
    assert not torch.equal(input, batch[0])
    torch.testing.assert_close(target, torch.cat((input, -input), 1))


def test_nothing_asked_for_changes_nothing(batch) -> None:
    input, target = augment(*batch, moves(), flip=False, jitter=0.0)
    assert torch.equal(input, batch[0])
    assert torch.equal(target, batch[1])


def test_half_of_the_photos_are_mirrored(batch) -> None:
    input, _ = augment(*batch, moves(), flip=True, jitter=0.0)
    kept = (input == batch[0]).all(dim=(1, 2, 3))
    mirrored = (input == batch[0].flip(-1)).all(dim=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 20 < mirrored.sum() < 44


def test_the_same_random_numbers_move_alike(batch) -> None:
    def moved(seed: int) -> torch.Tensor:
        return augment(*batch, moves(seed=seed), flip=True, jitter=0.2)[0]

    assert torch.equal(moved(3), moved(3))
    assert not torch.equal(moved(3), moved(4))


def test_a_crop_is_a_part_of_the_enlarged_photo() -> None:
    """On ramps of x and y each crop is a stretch 1 / 1.25 as long, somewhere inside."""
    side, zoom = 64, 1.25
    middles = (torch.arange(side) + 0.5) / side
    ramps = torch.stack((middles.expand(side, side), middles[:, None].expand(side, side)))
    photos = ramps.expand(200, 2, side, side)
    x, y = augment(photos[:, :1], photos[:, 1:], moves(200), flip=False, jitter=0.25)
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


def test_jitter_of_the_paper_keeps_the_size() -> None:
    photo = torch.rand(2, 3, 256, 256)
    input, target = augment(photo, photo, moves(2), flip=True, jitter=0.117)
    assert input.shape == target.shape == (2, 3, 256, 256)
    assert 0 <= input.min() <= input.max() <= 1


def test_parts_of_a_batch_move_as_the_whole(batch) -> None:
    """A process of a group has its photos alone, and the moves of all."""
    whole = augment(*batch, moves(), flip=True, jitter=0.2)
    rows = slice(16, 48)
    part = augment(*(of_all[rows] for of_all in batch), moves().part(rows), flip=True, jitter=0.2)
    for one, other in zip(part, whole, strict=True):
        assert torch.equal(one, other[rows])


def gray_photos(space, photos: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded photos of one gray, with the target that has a colour beside it."""
    input = torch.zeros(photos, space.in_channels, 32, 32)
    return input, space.gray_output(input) + 0.25


@pytest.mark.parametrize("name", ["rgb", "lab"])
def test_half_of_the_photos_get_noise_of_their_own_strength(name: str) -> None:
    space = get_space(name)
    noisy, target = add_noise(space, *gray_photos(space), moves(200), 0.1)
    strengths = noisy[:, 0].flatten(1).std(dim=1) / 2
    assert 70 < (strengths > 0).sum() < 130
    assert strengths.max() == pytest.approx(0.1, rel=0.1)
    assert 0.03 < strengths[strengths > 0].mean() < 0.07
    # Gray stays gray, and the colour to be found is the same on it.
    assert (noisy == noisy[:, :1]).all()
    assert torch.allclose(target - space.gray_output(noisy), torch.tensor(0.25), atol=1e-6)


def test_noise_of_a_part_is_that_of_the_whole() -> None:
    space = get_space("rgb")
    photos = gray_photos(space, 8)
    whole = add_noise(space, *photos, moves(8), 0.1)
    again = add_noise(space, *photos, moves(8), 0.1)
    other = add_noise(space, *photos, moves(8, seed=1), 0.1)
    part = add_noise(space, *(x[4:] for x in photos), moves(8).part(slice(4, 8)), 0.1)
    assert torch.equal(whole[0], again[0])
    assert not torch.equal(whole[0], other[0])
    assert torch.equal(whole[0][4:], part[0])
    assert torch.equal(whole[1][4:], part[1])
