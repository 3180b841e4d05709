"""Random changes of the batches: flips and crops, and colour hints at random places."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.config import TrainParams
from colorgan.data.loader import AUGMENTATION, HINTS, Batch, random_of
from colorgan.networks.layers import channels_last
from colorgan.runs.runtime import Group
from colorgan.spaces import Space

HINT_SIZES = (1, 3, 5, 7, 9)
"""Sides in pixels of the patches that are hints."""
STOP = 1 / 8
"""Parameter of the geometric distribution of the number of hints, whose mean is 8."""
MOST_DRAWN = 64


def prepare_batch(
    space: Space, train: TrainParams, batch: Batch, iteration: int, group: Group
) -> tuple[Tensor, Tensor]:
    """Convert a uint8 batch to floats and augment it; input and target as the step takes them.

    The draws depend on the seed and the iteration alone. Each process of a group takes the draws
    of its own photos, so that a group augments the batch as one process would.
    """
    share = len(batch[0])
    own = slice(group.rank * share, (group.rank + 1) * share)
    random, total = random_of(train.seed, iteration, AUGMENTATION), share * group.world_size
    # Drawn on the CPU, so that every device gets the same.
    flips, places = torch.rand(total, generator=random), torch.rand(total, 2, generator=random)
    input, target = space.encode(*batch)
    # Input and target are moved alike.
    both = torch.cat((input, target), dim=1)
    if train.flip:
        both = mirror(both, flips[own] < 0.5)
    if train.jitter:
        both = crop(both, 1 + train.jitter, places[own])
    layout = channels_last if train.channels_last else Tensor.contiguous
    channels = input.shape[1]
    return layout(both[:, :channels]), layout(both[:, channels:])


def mirror(photos: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror some of the photos `(N, C, H, W)` left to right; `mirrored` is `(N,)`, bool."""
    which = _to_device(mirrored, photos.device)[:, None, None, None]
    return torch.where(which, photos.flip(-1), photos)


def crop(photos: Tensor, zoom: float, places: Tensor) -> Tensor:
    """Enlarge photos `(N, C, H, W)` by `zoom` and crop them; `places` is `(N, 2)` in 0..1.

    A zoom of 1.117 enlarges 256 px to 286 before the crop, as in pix2pix.
    """
    theta = torch.zeros(len(photos), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = (places * 2 - 1) * (1 - 1 / zoom)
    theta = _to_device(theta, photos.device)
    grid = F.affine_grid(theta, list(photos.shape), align_corners=False)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)


def _to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; from pinned memory a copy to a GPU does not block."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def draw_hints(ab: Tensor, share: float, seed: int, iteration: int, group: Group) -> Tensor:
    """Draw hints for a share of the photos: `(N, 3, H, W)`, ab / 110 and a mask of 0 and 1.

    `ab` is the true ab / 110 `(N, 2, H, W)`. A photo has a geometric number of square patches at
    uniform places, each of the mean colour inside. The draws depend on the seed and the iteration;
    each process of a group takes those of its own photos.

    Source: Zhang et al. 2017, section 3.2, with uniform places instead of central ones.
    """
    n, _, height, width = ab.shape
    random = random_of(seed, iteration, HINTS)
    total = n * group.world_size
    draws = (
        torch.rand(total, 2, generator=random),
        torch.rand(total, MOST_DRAWN, 3, generator=random),
    )
    own = slice(group.rank * n, (group.rank + 1) * n)
    photos, places = (draw[own].double().numpy() for draw in draws)
    counts = 1 + np.log1p(-photos[:, 1]) // np.log1p(-STOP)
    counts = np.where(photos[:, 0] < share, np.minimum(counts, MOST_DRAWN), 0)
    # Which point covers each pixel: 0 is none, else its place in the list of all, from 1.
    covering = np.zeros((n, height, width), np.int64)
    points: list[tuple[int, int, int, int]] = []
    for photo, count in enumerate(counts.astype(int)):
        for y, x, size in (places[photo, :count] * (height, width, len(HINT_SIZES))).astype(int):
            points.append((photo, y, x, size))
            reach = HINT_SIZES[size] // 2
            rows = slice(max(0, y - reach), y + reach + 1)
            covering[photo, rows, max(0, x - reach) : x + reach + 1] = len(points)
    means = torch.stack(
        [F.avg_pool2d(ab, k, 1, k // 2, count_include_pad=False) for k in HINT_SIZES], dim=1
    )
    of_photo, at_y, at_x, of_size = (
        torch.tensor(points, dtype=torch.int64, device=ab.device).reshape(-1, 4).unbind(1)
    )
    colours = torch.cat((ab.new_zeros(1, 2), means[of_photo, of_size, :, at_y, at_x]))
    index = torch.from_numpy(covering).to(ab.device)
    hints = torch.cat((colours[index], (index > 0).to(ab.dtype)[..., None]), dim=-1)
    return hints.movedim(-1, 1)
