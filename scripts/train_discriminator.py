"""Train the pretrained discriminator alone, on the kept pictures of models/pretrained.

    python scripts/train_discriminator.py 200 WIDE PHOTOS

The arguments are the iterations and folders as for train_pretrained.py, whose batches it takes. The
recipe (loss, chroma, betas) is that of params.yaml, but for the learning rate. Writes
models/pretrained/discriminator.safetensors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import typer
from safetensors.torch import load_file, save

from colorgan import io, paths
from colorgan.config import load_params
from colorgan.model import WEIGHTS
from colorgan.networks.layers import channels_last
from colorgan.spaces import get_space
from colorgan.training.build import build_step
from colorgan.training.initial_weights import DISCRIMINATOR
from colorgan.training.optim import set_learning_rate
from train_pretrained import SEED, batches, cpu_runtime

BATCH = 16
RATE, LATE_RATE, LATE = 4e-4, 1.2e-4, 0.6
"""Learning rates, and the share of the iterations after which the second is used."""


def main(iterations: int, folders: list[Path]) -> None:
    """Train; print the mean loss of each 20 iterations."""
    params, space, folder = load_params(), get_space("lab"), paths.pretrained()
    cfg = params.lab
    size, weights = cfg.data.image_size, load_file(folder / WEIGHTS)
    runtime = cpu_runtime(params)
    step = build_step(space, cfg, size, runtime, weights)
    step.generator.eval()
    total = 0.0
    for i, lab in enumerate(batches(folders, np.random.default_rng(SEED), BATCH)):
        encoded = space.encode(lab[..., 0], lab[..., 1:])
        input, target = (channels_last(F.interpolate(x, size, mode="bilinear")) for x in encoded)
        set_learning_rate(step.optimizer_d, RATE if i < LATE * iterations else LATE_RATE)
        with torch.no_grad(), runtime.autocast():
            fake = step.generator(input, *step.draw_hints(input, target, i))
        total += float(step.update_discriminator(input, target, fake))
        step.scaler.update()
        if (i + 1) % 20 == 0:
            print(f"{i + 1}: loss_D {total / 20:.4f}", flush=True)
            total = 0.0
        if i + 1 == iterations:
            break
    state = step.discriminator.state_dict()
    halved = {n: (x.half() if x.ndim == 4 else x).contiguous() for n, x in state.items()}
    with io.file_aside(folder / DISCRIMINATOR) as aside:
        aside.write_bytes(save(halved))


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    typer.run(main)
