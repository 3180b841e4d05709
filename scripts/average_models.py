"""Average the weights of two models, of which the second was trained from the first.

    python scripts/average_models.py models/lab-first models/lab-second models/lab-mean

Source: Wortsman et al., "Model soups" (2022).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from colorgan import io
from colorgan.model import CONFIG, WEIGHTS, Model


def main(first: Path, second: Path, target: Path) -> None:
    """Write the mean of two models of the same network."""
    one, other = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    if {n: t.shape for n, t in one.items()} != {n: t.shape for n, t in other.items()}:
        sys.exit(f"{first} and {second} are of different networks; they should be of the same")
    mean = {
        name: (tensor.float() + other[name].float()) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in one.items()
    }
    target.mkdir(parents=True, exist_ok=True)
    with io.file_aside(target / WEIGHTS) as aside:
        aside.write_bytes(save({name: x.contiguous() for name, x in mean.items()}))
    shutil.copyfile(first / CONFIG, target / CONFIG)
    assert all(torch.isfinite(p).all() for p in Model.load(target).generator.parameters())
    print(f"{target / WEIGHTS}: the mean of {first} and {second}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
