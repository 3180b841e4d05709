"""Flips, crops and hints: input and target move alike, and the draws depend on the iteration."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from colorgan.config import Params
from colorgan.data.loader import Batch
from colorgan.runs.runtime import Group
from colorgan.spaces import get_space
from colorgan.training.augment import MOST_DRAWN, crop, draw_hints, prepare_batch


@pytest.fixture
def gray_batch() -> Batch:
    """Gray photos for RGB: the input and each channel of the target are the same."""
    gray = torch.randint(0, 256, (64, 32, 32), dtype=torch.uint8)
    return gray, gray[..., None].expand(-1, -1, -1, 3)


@pytest.fixture
def prepare(
    make_params: Callable[..., Params], gray_batch: Batch
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Return a function that prepares a process's share of the same batch."""

    def prepare(iteration: int, group: Group = Group(), **train: object):  # noqa: B008 (frozen)
        changes = {"train.jitter": 0.2} | {f"train.{name}": value for name, value in train.items()}
        share = 64 // group.world_size
        own = slice(group.rank * share, (group.rank + 1) * share)
        batch = gray_batch[0][own], gray_batch[1][own]
        return prepare_batch(
            get_space("rgb"), make_params(changes).rgb.train, batch, iteration, group
        )

    return prepare


@pytest.mark.parametrize(("flip", "jitter"), [(True, 0.0), (False, 0.117), (True, 0.3)])
def test_input_and_target_move_alike(prepare, gray_batch, flip: bool, jitter: float) -> None:
    input, target = prepare(0, flip=flip, jitter=jitter)
    assert input.shape == target.shape == (64, 3, 32, 32)
    assert input.dtype == target.dtype == torch.float32
    assert not torch.equal(input, get_space("rgb").encode_input(gray_batch[0]))
    torch.testing.assert_close(target, input)


def test_half_of_the_photos_are_mirrored(prepare, gray_batch) -> None:
    input, _ = prepare(0, jitter=0.0)
    before = get_space("rgb").encode_input(gray_batch[0])
    kept = (input == before).all(dim=(1, 2, 3))
    mirrored = (input == before.flip(-1)).all(dim=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert 20 < mirrored.sum() < 44


def test_a_crop_is_a_part_of_the_enlarged_photo() -> None:
    """On ramps of x and y each crop is a stretch 1 / 1.25 as long, somewhere inside."""
    side, zoom = 64, 1.25
    middles = (torch.arange(side) + 0.5) / side
    ramps = torch.stack((middles.expand(side, side), middles[:, None].expand(side, side)))
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    x, y = crop(ramps.expand(200, 2, side, side), zoom, places).unbind(1)
    inner = slice(4, -4)  # the border is clamped by half a pixel
    for ramp, along in ((x, 2), (y, 1)):
        steps = ramp.diff(dim=along)[:, inner, inner]
        torch.testing.assert_close(steps, torch.full_like(steps, 1 / (side * zoom)))
        starts = ramp.amin(dim=(1, 2))
        assert starts.min() >= 0
        assert ramp.max() <= 1
        # Anywhere: also near both ends of what is left over.
        assert starts.min() < 0.03
        assert starts.max() > 1 - 1 / zoom - 0.03
    assert torch.corrcoef(torch.stack((x[:, 0, 0], y[:, 0, 0])))[0, 1].abs() < 0.3


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


AB = torch.rand(64, 2, 48, 64, generator=torch.Generator().manual_seed(0)) - 0.5


def test_a_share_of_the_photos_has_hints_and_most_of_them_few() -> None:
    hints = draw_hints(AB, 0.75, 1, 0, Group())
    ab, mask = hints[:, :2], hints[:, 2]
    assert hints.shape == (64, 3, 48, 64)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert not ab[(mask == 0)[:, None].expand_as(ab)].any()
    hinted = mask.flatten(1).any(1)
    assert 0.55 < hinted.float().mean() < 0.9
    colours = [len(x[:, m > 0].unique(dim=1).T) for x, m in zip(ab, mask, strict=True)]
    assert 3 <= sorted(n for n in colours if n)[sum(hinted) // 2] <= 10
    assert max(colours) <= MOST_DRAWN
    assert not draw_hints(AB, 0.0, 1, 0, Group()).any()


def test_a_hint_is_the_mean_colour_of_its_patch() -> None:
    ab = torch.zeros(8, 2, 48, 64)
    ab[:, 0, :, 32:], ab[:, 1, 24:] = 0.4, -0.3
    hints = draw_hints(ab, 1.0, 2, 0, Group())
    [mask] = hints[:, 2:].gt(0).unbind(1)
    given, true = hints[:, :2].movedim(1, -1)[mask], ab.movedim(1, -1)[mask]
    # Patches across an edge are a mixture.
    assert torch.isclose(given, true).all(-1).float().mean() > 0.5
    assert given[:, 0].min() >= 0
    assert given[:, 0].max() <= 0.4 + 1e-6


def test_processes_draw_what_one_alone_draws() -> None:
    alone = draw_hints(AB, 0.5, 3, 7, Group())
    shares = [draw_hints(AB[i * 32 :][:32], 0.5, 3, 7, Group(i, i, 2)) for i in range(2)]
    assert torch.equal(torch.cat(shares), alone)
    assert not torch.equal(draw_hints(AB, 0.5, 3, 8, Group()), alone)
