"""Augmentation on the training device: convert a batch to floats, flip, crop and add noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.config import TrainParams
from colorgan.data.loader import AUGMENTATION, Batch, stream
from colorgan.networks.layers import channels_last
from colorgan.runs.runtime import Group
from colorgan.spaces import Space


class AugmentationDraws(NamedTuple):
    """Random numbers for the N photos of a batch, uniform in 0..1.

    They are drawn on the CPU, so that every device gets the same.
    """

    flip: Tensor
    """`(N,)`, below a half for photos that are mirrored."""
    crop: Tensor
    """`(N, 2)`, the place of the crop."""
    noise: Tensor
    """`(N, 2)`, the strength of the noise and its seed."""

    @classmethod
    def draw(cls, n: int, random: torch.Generator, rows: slice = slice(None)) -> AugmentationDraws:
        """Draw for a batch of `n` photos; return those of some rows."""
        shapes = ((n,), (n, 2), (n, 2))
        return cls(*(torch.rand(*shape, generator=random)[rows] for shape in shapes))


def prepare_batch(
    space: Space, train: TrainParams, batch: Batch, iteration: int, group: Group
) -> tuple[Tensor, Tensor]:
    """Convert a uint8 batch to floats and augment it; input and target as the step takes them.

    The draws depend on the seed and the iteration alone. Each process of a group takes the draws
    of its own photos, so that a group augments the batch as one process would.
    """
    share = len(batch[0])
    rows = slice(group.rank * share, (group.rank + 1) * share)
    random = stream(train.seed, iteration, AUGMENTATION)
    draws = AugmentationDraws.draw(share * group.world_size, random, rows)
    input, target = augment(*space.encode(*batch), draws, flip=train.flip, jitter=train.jitter)
    if train.noise:
        input, target = add_noise(space, input, target, draws, train.noise)
    layout = channels_last if train.channels_last else Tensor.contiguous
    return layout(input), layout(target)


def augment(
    input: Tensor, target: Tensor, draws: AugmentationDraws, *, flip: bool, jitter: float
) -> tuple[Tensor, Tensor]:
    """Mirror half of the photos, enlarge all by `jitter` and crop them at random places.

    Input `(N, I, H, W)` and target `(N, C, H, W)`, float32, are moved alike. A jitter of 0.117
    enlarges 256 px to 286 before the crop, as in pix2pix.
    """
    channels = input.shape[1]
    both = torch.cat((input, target), dim=1)
    if flip:
        mirrored = _to_device(draws.flip < 0.5, both.device)
        both = torch.where(mirrored[:, None, None, None], both.flip(-1), both)
    if jitter:
        both = _crop(both, 1 + jitter, draws.crop)
    return both[:, :channels], both[:, channels:]


def add_noise(
    space: Space, input: Tensor, target: Tensor, draws: AugmentationDraws, strongest: float
) -> tuple[Tensor, Tensor]:
    """Add Gaussian noise to the lightness of about half of the photos, like film grain.

    Input `(N, I, H, W)` and target `(N, C, H, W)` are in [-1, 1]. The colours of the target stay as
    they are, but a target that holds lightness gets the noise too. Each photo has a standard
    deviation of its own, at most `strongest` of the range.
    """
    n, _, height, width = input.shape
    noise = input.new_zeros(n, 1, height, width)
    for i, (share, seed) in enumerate(draws.noise.tolist()):
        if share > 0.5:
            random = torch.Generator(input.device).manual_seed(int(seed * 2**24))
            drawn = torch.randn(height, width, generator=random, device=input.device)
            # Inputs have a range of 2.
            noise[i, 0] = drawn * (2 * strongest * (2 * share - 1))
    noise = noise.expand_as(input)
    return input + noise, target + space.gray_output(noise)


def _to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; from pinned memory a copy to a GPU does not block."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def _crop(photos: Tensor, zoom: float, place: Tensor) -> Tensor:
    """Enlarge by `zoom` and crop back to size; `place` is `(N, 2)` in 0..1."""
    theta = torch.zeros(len(photos), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = (place * 2 - 1) * (1 - 1 / zoom)
    theta = _to_device(theta, photos.device)
    grid = F.affine_grid(theta, list(photos.shape), align_corners=False)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)
