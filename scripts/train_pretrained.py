"""Train the pretrained generator from ImageNet weights or given ones, until a time of day.

    python scripts/train_pretrained.py imagenet out.safetensors --until 11:05 WIDE PHOTOS
    python scripts/train_pretrained.py out.safetensors next.safetensors --until 14:30 WIDE PHOTOS \
        --rate 8e-4 --small 0.35 --l1-alone 0.5

Each argument after the options is a folder of Parquet files with columns `webp` and `split`; a
batch has equal parts of the folders, but the first counts twice. Photos are enlarged to the image
size of params.yaml, and each batch has an even or a printed page without colour. At first the loss
is L1 alone; later half of the photos have colour hints, and the perceptual loss (on half of each
batch) and the colourfulness loss are added. The backbone's stem and first two stages stay as they
are. The weights written are a moving average; `scripts/make_pretrained.py` packs them.
"""

from __future__ import annotations

import copy
import io
import json
import math
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
import typer
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from colorgan import color
from colorgan.config import Params, load_params
from colorgan.model import build_generator
from colorgan.networks.backbones import load_backbone, weights_of
from colorgan.networks.layers import channels_last
from colorgan.runs.runtime import Group, Runtime
from colorgan.spaces import get_space
from colorgan.training.augment import draw_hints
from colorgan.training.losses import ColorfulnessLoss, PerceptualLoss, l1_loss

SEED, BATCH, DECAY = 7, 32, 0.998
WARMUP, SAVE_EVERY, LOG_EVERY = 50, 100, 25
L1, PERCEPTUAL, COLOR, HINTS = 100.0, 3.0, 2.0, 0.5
RAMP = 0.05
"""Share of the time in which the later losses grow to their weights."""
HINTS_RATE = 3
"""The new branch for hints learns faster by this factor."""
WORDS = "the of and to in is was that for it with as his on be at by had not are but from or have"


def page(random: np.random.Generator, side: int) -> npt.NDArray[np.uint8]:
    """Return 8-bit L `(side, side)` of an even, a sloping or a printed page."""
    kind, level = random.random(), random.uniform(5, 250)
    slope = np.linspace(-0.5, 0.5, side)
    x = np.full((side, side), level)
    if kind > 0.5:
        image = Image.new("L", (2 * side, 2 * side), int(random.uniform(200, 255)))
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(float(random.integers(7, 22)))
        y, ink, step = random.integers(2, 24), int(random.uniform(0, 110)), random.integers(10, 26)
        while y < 2 * side - 8:
            text = " ".join(random.choice(WORDS.split(), 12))
            draw.text((int(random.integers(4, 40)), int(y)), text, fill=ink, font=font)
            y += step
        x = np.asarray(image.resize((side, side)), float)
    if kind > 0.35:
        x = x + random.normal(0, 30) * slope[None] + random.normal(0, 30) * slope[:, None]
    if random.random() < 0.6:
        x = x + random.normal(0, random.uniform(0, 6), x.shape)
    return np.clip(x, 0, 255).round().astype(np.uint8)


def photos_of(folder: Path, random: np.random.Generator) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the training photos of a folder in 8-bit Lab, for ever, in a new order each time."""
    files = sorted(folder.glob("*.parquet"))
    encoded = pq.read_table(files, columns=["webp"], filters=[("split", "==", "train")])["webp"]
    while True:
        for i in random.permutation(len(encoded)):
            image = Image.open(io.BytesIO(encoded[i].as_py())).convert("RGB")
            yield color.lab8_from_rgb8(np.asarray(image))


def batches(
    folders: list[Path], random: np.random.Generator, size: int = BATCH
) -> Iterator[Tensor]:
    """Yield batches of 8-bit Lab `(size, H, W, 3)`; one of BATCH photos is a page."""
    sources = [photos_of(folder, random) for folder in [folders[0], *folders]]
    number = 0
    while True:
        lab = np.stack([next(sources[(number + i) % len(sources)]) for i in range(size)])
        if number * size % BATCH == 0:
            lab[-1] = 128
            lab[-1, ..., 0] = page(random, lab.shape[1])
        yield torch.from_numpy(lab).flip(2) if random.random() < 0.5 else torch.from_numpy(lab)
        number += 1


def enlarged(input: Tensor, size: tuple[int, int], random: np.random.Generator) -> Tensor:
    """Enlarge inputs `(N, 1, h, w)`, and sharpen half of them, as photos of that size are sharp.

    A generator that saw only soft photos painted sharp ones a third paler.
    """
    kind = random.random()
    x = F.interpolate(input, size, mode="bilinear" if kind < 0.2 else "bicubic")
    if kind > 0.5:
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
        x = x + torch.empty(len(x), 1, 1, 1).uniform_(0.2, 1.6) * (x - soft)
    return x.clamp(-1, 1)


def cpu_runtime(params: Params) -> Runtime:
    """Return the CPU, for which the scripts of this folder are written."""
    machine = params.runtime.model_copy(update={"device": "cpu"})
    return Runtime.decide(params.lab.train, machine, 100_000)


def next_time(until: str) -> float:
    """Return the time stamp of a time of day, today or tomorrow."""
    end = datetime.combine(datetime.now(), datetime.strptime(until, "%H:%M").time()).timestamp()
    return end + 86_400 * (end < time.time())


def tell(sums: Tensor, iteration: int, done: float) -> None:
    """Print the mean losses of LOG_EVERY iterations as a JSON line, and begin anew."""
    means = [round(x, 5) for x in (sums / LOG_EVERY).tolist()]
    print(json.dumps({"iteration": iteration + 1, "done": done, "losses": means}), flush=True)
    sums.zero_()


def frozen_parts(generator: Any) -> list[nn.Module]:
    encoder = generator.encoder
    return [encoder.conv_stem, encoder.bn1, *encoder.blocks[:2]]


def main(
    start: Path,
    out: Path,
    folders: list[Path],
    until: Annotated[str, typer.Option(help="Time of day, such as 11:05.")],
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    small: Annotated[float, typer.Option(help="Share of the time without enlarging.")] = 0.0,
    l1_alone: Annotated[float, typer.Option(help="Share of the time with L1 alone.")] = 0.6,
) -> None:
    """Train until a time of day; print the mean losses as JSON lines."""
    params, space = load_params(), get_space("lab")
    cfg, size = params.lab, (params.lab.data.image_size,) * 2
    encoder = cfg.model.encoder
    runtime = cpu_runtime(params)
    torch.set_flush_denormal(True)
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    generator = build_generator(space, cfg.model, size[0])
    if str(start) == "imagenet":
        load_backbone(generator.encoder, weights_of(cfg.model.encoder_weights, encoder), encoder)
    else:
        generator.load_state_dict({n: x.float() for n, x in load_file(start).items()})
    average = copy.deepcopy(generator).requires_grad_(False)
    for part in frozen_parts(generator):
        part.requires_grad_(False)
    perceptual = PerceptualLoss(space, runtime, cfg.train.perceptual_size)
    colorfulness = ColorfulnessLoss(space)
    named = [(n, p) for n, p in generator.named_parameters() if p.requires_grad]
    of_hints = [p for n, p in named if n.startswith("hints.")]
    others = [p for n, p in named if not n.startswith("hints.")]
    optimizer = torch.optim.Adam([{"params": others}, {"params": of_hints}], rate, fused=True)
    begun = time.time()
    end = next_time(until)
    sums = torch.zeros(3)
    for iteration, lab in enumerate(batches(folders, random)):
        done = min(1.0, (time.time() - begun) / (end - begun))
        falling = min(1, (iteration + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * done))
        for group, factor in zip(optimizer.param_groups, (1, HINTS_RATE), strict=True):
            group["lr"] = rate * falling * factor
        input, target = space.encode(lab[..., 0], lab[..., 1:])
        large = input if done < small else enlarged(input, size, random)
        later = min(1.0, max(0.0, done - l1_alone) / RAMP)
        hints: list[Tensor] = []
        if later:
            wanted = F.interpolate(target, large.shape[-2:], mode="bilinear")
            hints = [channels_last(draw_hints(wanted, HINTS, SEED, iteration, Group()))]
        generator.train()
        for part in frozen_parts(generator):
            part.eval()
        output = generator(channels_last(large), *hints)
        output = F.interpolate(output, input.shape[-2:], mode="bilinear")
        half = slice(iteration % 2, None, 2)
        losses = [l1_loss(input, output, target), *torch.zeros(2)]
        if later:
            losses[1] = perceptual(input[half], output[half], target[half])
            losses[2] = colorfulness(input, output, target)
        optimizer.zero_grad(set_to_none=True)
        (L1 * losses[0] + later * (PERCEPTUAL * losses[1] + COLOR * losses[2])).backward()
        optimizer.step()
        decay = min(DECAY, (2 + iteration) / (21 + iteration))
        with torch.no_grad():
            for mean, now in zip(
                average.state_dict().values(), generator.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - decay)
        sums += torch.stack(losses).detach()
        if (iteration + 1) % LOG_EVERY == 0:
            tell(sums, iteration, done)
        if done == 1 or (iteration + 1) % SAVE_EVERY == 0:
            aside = out.with_suffix(".new")
            save_file({n: x.contiguous() for n, x in average.state_dict().items()}, aside)
            aside.replace(out)
        if done == 1:
            break


if __name__ == "__main__":
    typer.run(main)
