"""Flips and crops of whole batches on the training device, in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(
    input: Tensor, target: Tensor, *, flip: bool, jitter: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mirror half of the photos, enlarge all by `jitter` and crop them at random places.

    Args:
        input: `(N, I, H, W)` float32.
        target: `(N, C, H, W)` float32; moved exactly as the input is.
        flip: whether to mirror.
        jitter: 0.117 enlarges 256 px to 286 before the crop, as pix2pix does; 0 leaves it out.
        generator: the random numbers, on the CPU, so that every device draws the same.
    """
    n, split = len(input), input.shape[1]
    both = torch.cat((input, target), dim=1)
    if flip:
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(both.device)
        both = torch.where(mirrored[:, None, None, None], both.flip(-1), both)
    if jitter:
        both = _crop(both, 1 + jitter, torch.rand(n, 2, generator=generator))
    return both[:, :split], both[:, split:]


def _crop(photos: Tensor, zoom: float, place: Tensor) -> Tensor:
    """Enlarge by `zoom` and crop back to size; `place` `(N, 2)` in 0..1 says where."""
    theta = torch.zeros(len(photos), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = (place * 2 - 1) * (1 - 1 / zoom)
    grid = F.affine_grid(theta.to(photos.device), list(photos.shape), align_corners=False)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)
