"""Tests of the random colour hints that a training gives."""

from __future__ import annotations

import torch

from colorgan.runs.runtime import Group
from colorgan.training.hints import MOST, draw_hints

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
    assert max(colours) <= MOST
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
