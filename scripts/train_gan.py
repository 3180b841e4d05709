"""Train the pretrained generator against a discriminator, until a time of day.

    python scripts/train_gan.py before.safetensors out.safetensors --until 15:10 WIDE PHOTOS

Batches, hints and the perceptual loss are as in train_pretrained.py, but the backbone and the
statistics of batch norm stay as they are. The projected discriminator sees the colours times GAIN.
It begins as that of models/pretrained, which was an older one when the included generator was
trained. Its loss is relativistic and paired: it should judge a photo more real than the coloured
copy of that photo. Feature matching is added: the discriminator should find the same features in
both. The gradient of the output by these two is scaled to a share of that by the other losses. The
weights written lie between those before and a moving average of those after (`--mix`);
`scripts/make_pretrained.py` packs them.

Source: Jolicoeur-Martineau, "The relativistic discriminator" (2018); feature matching: Salimans et
al., "Improved Techniques for Training GANs" (2016), and pix2pixHD; Esser et al., "Taming
transformers" (2021) scale the gradient likewise.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from colorgan import paths
from colorgan.config import load_params
from colorgan.model import build_generator
from colorgan.networks.layers import channels_last
from colorgan.runs.runtime import Group
from colorgan.spaces import get_space
from colorgan.training.augment import draw_hints
from colorgan.training.build import build_discriminator
from colorgan.training.initial_weights import DISCRIMINATOR
from colorgan.training.losses import PerceptualLoss, l1_loss
from colorgan.training.optim import update_average
from train_pretrained import (
    HINTS,
    LOG_EVERY,
    SAVE_EVERY,
    SEED,
    batches,
    cpu_runtime,
    enlarged,
    next_time,
    tell,
)

BATCH, DECAY = 16, 0.99
RATE, RATE_D, BETAS = 1e-4, 4e-4, (0.0, 0.99)
ALONE = 50
"""Iterations in which the discriminator learns alone; the generator warms up for as many."""
GAIN, L1, PERCEPTUAL = 1.65, 30.0, 3.0
SHARE = 0.6
"""Norm of the adversarial gradient, as a share of that by the other losses; twice it at most."""
MATCHING = 2.0
"""Norm of the gradient by feature matching, as a multiple of that by the relativistic loss."""


def main(
    start: Path,
    out: Path,
    folders: list[Path],
    until: Annotated[str, typer.Option(help="Time of day, such as 15:10.")],
    mix: Annotated[float, typer.Option(help="Share of the weights after; 1 is all.")] = 0.5,
) -> None:
    """Train until a time of day; print the mean losses as JSON lines.

    They are of the discriminator, relativistic, L1, perceptual, of feature matching.
    """
    params, space = load_params(), get_space("lab")
    cfg, size = params.lab, (params.lab.data.image_size,) * 2
    runtime = cpu_runtime(params)
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    generator = build_generator(space, cfg.model, size[0])
    generator.load_state_dict({name: x.float() for name, x in load_file(start).items()})
    before = copy.deepcopy(generator.state_dict())
    generator.freeze_encoder()
    generator.train()
    average = copy.deepcopy(generator).requires_grad_(False)
    discriminator = build_discriminator(space, cfg.model)
    discriminator.load_state_dict(
        {name: x.float() for name, x in load_file(paths.pretrained() / DISCRIMINATOR).items()}
    )
    perceptual = PerceptualLoss(space, runtime, cfg.train.perceptual_size)
    optimizer = torch.optim.Adam(generator.parameters(), RATE, BETAS, fused=True)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), RATE_D, BETAS, fused=True)
    seen: list[Tensor] = []
    for module in discriminator.modules():
        if isinstance(module, nn.LeakyReLU):
            module.register_forward_hook(lambda *given: seen.append(given[2]))
    begun, sums, scale = time.time(), torch.zeros(5), 0.0
    end = next_time(until)
    for iteration, lab in enumerate(batches(folders, random, BATCH)):
        done = min(1.0, (time.time() - begun) / (end - begun))
        falling = 0.1 + 0.45 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = RATE * falling * min(1, max(0, iteration / ALONE - 1))
        optimizer_d.param_groups[0]["lr"] = RATE_D * falling
        input, target = space.encode(lab[..., 0], lab[..., 1:])
        large = channels_last(enlarged(input, size, random))
        wanted = channels_last(F.interpolate(target, size, mode="bilinear"))
        hints = channels_last(draw_hints(wanted, HINTS, SEED, iteration, Group()))
        output = generator(large, hints)
        fake = space.with_chroma(large, output, GAIN)

        discriminator.requires_grad_(True)
        optimizer_d.zero_grad()
        # softplus: the loss is small where the photo looks more real than its coloured copy.
        loss_d = F.softplus(
            discriminator(large, fake.detach()) - discriminator(large, wanted)
        ).mean()
        loss_d.backward()
        optimizer_d.step()
        losses = [loss_d, *torch.zeros(4)]
        seen.clear()

        if iteration >= ALONE:
            discriminator.requires_grad_(False)
            on_photo, on_copy = discriminator(large, wanted), discriminator(large, fake)
            losses[1] = F.softplus(on_photo - on_copy).mean()
            pairs = zip(seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True)
            losses[4] = torch.stack([F.l1_loss(copied, true) for true, copied in pairs]).mean()
            seen.clear()
            small = F.interpolate(output, input.shape[-2:], mode="bilinear")
            half = slice(iteration % 2, None, 2)
            losses[2] = l1_loss(input, small, target)
            losses[3] = perceptual(input[half], small[half], target[half])
            others = L1 * losses[2] + PERCEPTUAL * losses[3]
            (by_others,) = torch.autograd.grad(others, output, retain_graph=True)
            by_gan, by_matching = (
                torch.autograd.grad(loss, output, retain_graph=True)[0]
                for loss in (losses[1], losses[4])
            )
            equal = by_gan.norm() / by_matching.norm().clamp(min=1e-9)
            by_gan = by_gan + MATCHING * equal * by_matching
            ratio = float(by_others.norm() / by_gan.norm().clamp(min=1e-9))
            scale = 0.95 * scale + 0.05 * ratio if scale else ratio
            optimizer.zero_grad()
            output.backward(by_others + SHARE * min(scale, 2 * ratio) * by_gan)
            optimizer.step()
            update_average(average, generator, DECAY, iteration - ALONE)
        sums += torch.stack(losses).detach()
        if (iteration + 1) % LOG_EVERY == 0:
            tell(sums, iteration, done)
        if done == 1 or (iteration + 1) % SAVE_EVERY == 0:
            after = average.state_dict()
            mixed = {
                name: x.lerp(after[name], mix) if x.is_floating_point() else x
                for name, x in before.items()
            }
            aside = out.with_suffix(".new")
            save_file(mixed, aside)
            aside.replace(out)
        if done == 1:
            break


if __name__ == "__main__":
    typer.run(main)
