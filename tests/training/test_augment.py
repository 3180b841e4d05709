"""Flips and crops: input and target move alike."""

from __future__ import annotations

import pytest
import torch

from colorgan.training.augment import Moves, augment


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
