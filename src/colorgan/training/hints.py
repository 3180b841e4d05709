"""Colour hints for training: patches of the true colours at random places."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.data.loader import HINTS, stream
from colorgan.runs.runtime import Group

SIZES = (1, 3, 5, 7, 9)
"""Sides of the patches in pixels."""
STOP = 1 / 8
"""Parameter of the geometric distribution of the number of hints, whose mean is 8."""
MOST = 64


def draw_hints(ab: Tensor, share: float, seed: int, iteration: int, group: Group) -> Tensor:
    """Draw hints for a share of the photos: `(N, 3, H, W)`, ab / 110 and a mask of 0 and 1.

    `ab` is the true ab / 110 `(N, 2, H, W)`. A photo has a geometric number of square patches at
    uniform places, each of the mean colour inside. The draws depend on the seed and the iteration;
    each process of a group takes those of its own photos.

    Source: Zhang et al. 2017, section 3.2, with uniform places instead of central ones.
    """
    n, _, height, width = ab.shape
    random = stream(seed, iteration, HINTS)
    total = n * group.world_size
    draws = torch.rand(total, 2, generator=random), torch.rand(total, MOST, 3, generator=random)
    own = slice(group.rank * n, (group.rank + 1) * n)
    photos, places = (draw[own].double().numpy() for draw in draws)
    counts = 1 + np.log1p(-photos[:, 1]) // np.log1p(-STOP)
    counts = np.where(photos[:, 0] < share, np.minimum(counts, MOST), 0)
    # Which point covers each pixel: 0 is none, else its place in the list of all, from 1.
    covering = np.zeros((n, height, width), np.int64)
    points: list[tuple[int, int, int, int]] = []
    for photo, count in enumerate(counts.astype(int)):
        for y, x, size in (places[photo, :count] * (height, width, len(SIZES))).astype(int):
            points.append((photo, y, x, size))
            reach = SIZES[size] // 2
            rows = slice(max(0, y - reach), y + reach + 1)
            covering[photo, rows, max(0, x - reach) : x + reach + 1] = len(points)
    means = torch.stack(
        [F.avg_pool2d(ab, k, 1, k // 2, count_include_pad=False) for k in SIZES], dim=1
    )
    of_photo, at_y, at_x, of_size = (
        torch.tensor(points, dtype=torch.int64, device=ab.device).reshape(-1, 4).unbind(1)
    )
    colours = torch.cat((ab.new_zeros(1, 2), means[of_photo, of_size, :, at_y, at_x]))
    index = torch.from_numpy(covering).to(ab.device)
    hints = torch.cat((colours[index], (index > 0).to(ab.dtype)[..., None]), dim=-1)
    return hints.movedim(-1, 1)
