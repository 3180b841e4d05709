"""Flips, crops and noise of whole batches on the training device, in float32."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from colorgan.networks import convolution
from colorgan.spaces import Space


class Moves(NamedTuple):
    """Random numbers of a batch, uniform in 0..1, on the CPU, so that every device has the same.

    Attributes:
        mirror: `(N,)`, below a half for photos to be mirrored.
        place: `(N, 2)`, where a crop lies.
        noise: `(N, 2)`, how strong the noise is, and the seed of it in 0..1.
    """

    mirror: Tensor
    place: Tensor
    noise: Tensor

    @classmethod
    def draw(cls, n: int, random: torch.Generator) -> Moves:
        """Draw for a batch of `n` photos."""
        return cls(*(torch.rand(*shape, generator=random) for shape in ((n,), (n, 2), (n, 2))))

    def part(self, rows: slice) -> Moves:
        """Return those of some photos of the batch."""
        return Moves(self.mirror[rows], self.place[rows], self.noise[rows])


def augment(
    input: Tensor, target: Tensor, moves: Moves, *, flip: bool, jitter: float
) -> tuple[Tensor, Tensor]:
    """Mirror half of the photos, enlarge all by `jitter` and crop them at random places.

    Args:
        input: `(N, I, H, W)` float32.
        target: `(N, C, H, W)` float32; moved exactly as the input is.
        moves: random numbers of the N photos.
        flip: whether to mirror.
        jitter: 0.117 enlarges 256 px to 286 before the crop, as pix2pix does; 0 leaves it out.
    """
    split = input.shape[1]
    both = torch.cat((input, target), dim=1)
    if flip:
        mirrored = _brought_to(both.device, moves.mirror < 0.5)
        both = torch.where(mirrored[:, None, None, None], both.flip(-1), both)
    if jitter:
        both = _crop(both, 1 + jitter, moves.place)
    return both[:, :split], both[:, split:]


def add_noise(
    space: Space, input: Tensor, target: Tensor, moves: Moves, strongest: float
) -> tuple[Tensor, Tensor]:
    """Add Gaussian noise to the lightness of every second photo, as film grain does.

    The colours to be found stay as they are: a network that has seen it is not led astray by the
    grain of a scan.

    Args:
        space: what inputs and targets mean; a target that has the lightness in it gets it too.
        input: `(N, I, H, W)` float32 in [-1, 1].
        target: `(N, C, H, W)` float32 in [-1, 1].
        moves: random numbers of the N photos.
        strongest: standard deviation at most, of a range of 1; each photo has one of its own.
    """
    n, _, height, width = input.shape
    noise = input.new_zeros(n, 1, height, width)
    for i, (share, seed) in enumerate(moves.noise.tolist()):
        if share > 0.5:
            random = torch.Generator(input.device).manual_seed(int(seed * 2**24))
            drawn = torch.randn(height, width, generator=random, device=input.device)
            # Inputs span 2.
            noise[i, 0] = drawn * (2 * strongest * (2 * share - 1))
    noise = noise.expand_as(input)
    return input + noise, target + space.gray_output(noise)


def in_layout(batch: tuple[Tensor, Tensor], *, channels_last: bool) -> tuple[Tensor, Tensor]:
    """Return an encoded batch in the layout in memory that the step is to work in."""
    laid_out = convolution.channels_last if channels_last else Tensor.contiguous
    input, target = map(laid_out, batch)
    return input, target


def _brought_to(device: torch.device, x: Tensor) -> Tensor:
    """Copy to a device; a GPU takes it from pinned memory, which holds up nobody."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def _crop(photos: Tensor, zoom: float, place: Tensor) -> Tensor:
    """Enlarge by `zoom` and crop back to size; `place` `(N, 2)` in 0..1 says where."""
    theta = torch.zeros(len(photos), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = (place * 2 - 1) * (1 - 1 / zoom)
    theta = _brought_to(photos.device, theta)
    grid = F.affine_grid(theta, list(photos.shape), align_corners=False)
    return F.grid_sample(photos, grid, padding_mode="border", align_corners=False)
