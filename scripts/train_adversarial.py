"""Train the pretrained generator on against the pretrained discriminator, and mix the weights.

    python scripts/train_adversarial.py out.safetensors --seed 1 WIDE PHOTOS

The folders are those of train_pretrained.py, whose batches it takes. The encoder stays as it is.
The loss is the relativistic paired one (Huang et al., "The GAN is dead; long live the GAN!", 2024):
each place of a generated picture is compared with the same place of its photo. Before the
discriminator and the perceptual loss see them, the generated colours are multiplied by COLOR, or
strength alone would tell them from photos. Written are a moving average of the weights, moved only
the share MIX of the way from those of models/pretrained.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from colorgan.training.hints import draw_hints
from safetensors.torch import load_file, save_file
from torch import Tensor

from colorgan import paths
from colorgan.config import load_params
from colorgan.model import WEIGHTS, build_generator
from colorgan.networks.layers import channels_last
from colorgan.runs.runtime import Group, Runtime
from colorgan.spaces import get_space
from colorgan.training.build import build_discriminator
from colorgan.training.initial_weights import DISCRIMINATOR
from colorgan.training.losses import PerceptualLoss, l1_loss
from train_pretrained import batches, enlarged

ITERATIONS, ALONE, WARMUP = 200, 5, 11
RATE, RATE_D, BETAS, DECAY = 1e-4, 3e-4, (0.0, 0.99), 0.98
GAN, L1, PERCEPTUAL, HINTS, COLOR, MIX = 20.0, 20.0, 8.0, 0.3, 1.7, 0.5


def relativistic(more: Tensor, less: Tensor) -> Tensor:
    """Return the loss that asks for higher logits of `more` than of `less`."""
    return F.softplus(less - more).mean()


def main(
    out: Path,
    folders: list[Path],
    seed: Annotated[int, typer.Option(help="Of photos, hints and pages.")] = 1,
) -> None:
    """Train; print the mean losses of each 20 iterations."""
    params, space, start = load_params(), get_space("lab"), paths.pretrained()
    cfg, size = params.lab, (params.lab.data.image_size,) * 2
    runtime = Runtime.decide(cfg.train, params.runtime, ITERATIONS)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    generator = build_generator(space, cfg.model, size[0])
    generator.load_state_dict(load_file(start / WEIGHTS))
    before = copy.deepcopy(generator.state_dict())
    generator.freeze_encoder()
    generator.train()
    average = copy.deepcopy(generator).requires_grad_(False)
    discriminator = build_discriminator(space, cfg.model)
    discriminator.load_state_dict(load_file(start / DISCRIMINATOR))
    perceptual = PerceptualLoss(space, runtime, cfg.train.perceptual_size)
    trained = [x for x in generator.parameters() if x.requires_grad]
    optimizer = torch.optim.Adam(trained, RATE, BETAS, fused=True)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), RATE_D, BETAS, fused=True)
    sums = torch.zeros(4)
    for i, lab in zip(range(-ALONE, ITERATIONS), batches(folders, random), strict=False):
        done = max(0, i) / ITERATIONS
        rate = min(1, (max(0, i) + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = RATE * rate
        optimizer_d.param_groups[0]["lr"] = RATE_D * rate
        input, target = space.encode(lab[..., 0], lab[..., 1:])
        large = channels_last(enlarged(input, size, random))
        wanted = F.interpolate(target, size, mode="bilinear")
        hints = channels_last(draw_hints(wanted, HINTS, seed, i + ALONE, Group()))
        with torch.set_grad_enabled(i >= 0), runtime.autocast():
            output = generator(large, hints).float()
        strong = COLOR * output

        discriminator.requires_grad_(True)
        with runtime.autocast():
            real = discriminator(large, wanted)
            loss_d = relativistic(real, discriminator(large, strong.detach()))
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()
        if i < 0:
            continue

        discriminator.requires_grad_(False)
        with runtime.autocast():
            loss_gan = relativistic(discriminator(large, strong), real.detach())
        small = F.interpolate(output, input.shape[-2:], mode="bilinear")
        half = slice(i % 2, None, 2)
        terms = (
            loss_gan,
            l1_loss(input, small, target),
            perceptual(input[half], COLOR * small[half], target[half]),
        )
        losses = torch.stack(terms)
        optimizer.zero_grad()
        (losses * torch.tensor((GAN, L1, PERCEPTUAL))).sum().backward()
        optimizer.step()
        decay = min(DECAY, (1 + i) / (10 + i))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), generator.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        sums += torch.stack((loss_d, *losses)).detach()
        if (i + 1) % 20 == 0:
            print(i + 1, [round(x, 4) for x in (sums / 20).tolist()], flush=True)
            sums.zero_()
    after = average.state_dict()
    mixed = {n: x.lerp(after[n], MIX) if x.is_floating_point() else x for n, x in before.items()}
    save_file({n: x.contiguous() for n, x in mixed.items()}, out)


if __name__ == "__main__":
    typer.run(main)
