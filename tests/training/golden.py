"""Reference loss curves of a short training, so that a change of the numbers is seen.

A change that is meant to change them writes them anew, and says so where it is committed::

    PYTHONPATH=tests python tests/training/golden.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from colorgan import paths
from colorgan.color import UInt8Array
from colorgan.config import SPACES, SpaceName, check_params
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from tiny_project import photo_arrays, tiny_params

GOLDEN = Path(__file__).parent / "golden"
SIDE, PHOTOS = 64, 20
CHANGES = {
    **{f"{space}.image_size": SIDE for space in SPACES},
    "model.ngf": 8,
    "model.ndf": 8,
    "model.n_layers": 2,
    "train.epochs": 5,
    "train.decay_start": 0.4,
    "train.lambda_l1": 10,
    "train.jitter": 0.1,
    "logging.log_every": 1,
    "runtime.devices": 1,
}


def photos() -> UInt8Array:
    """Make smooth photos `(N, 64, 64, 3)` whose colours go with their lightness."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    made = []
    for _ in range(PHOTOS):
        waves = np.zeros((SIDE, SIDE))
        for _ in range(4):
            across, down, begin = random.uniform(-3, 3, 3)
            waves += np.sin(2 * np.pi * (across * x + down * y) + begin)
        light = 128 + 25 * waves
        warmth = 60 * np.sin(waves) + random.uniform(-30, 30)
        made.append(np.stack((light + warmth, light, light - warmth), axis=-1))
    return np.stack(made).clip(0, 255).round().astype(np.uint8)


def curve(space: SpaceName) -> pd.DataFrame:
    """Train a space on these photos, with one thread, and return a row an iteration."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _empty_project():
            photo_arrays(paths.processed(space), space, photos(), ["waves"] * PHOTOS, "train")
            assert stage.train(check_params(tiny_params(CHANGES)), space) == 0
            return pd.read_csv(paths.losses(space))
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _empty_project() -> Iterator[None]:
    def recorder(_: RunDescription, folder: Path, *__: int) -> Recorder:
        return Recorder(folder)

    with (
        TemporaryDirectory() as folder,
        chdir(folder),
        patch.dict(os.environ),
        patch.object(stage, "open_recorder", recorder),
    ):
        os.environ.pop("DVC_ROOT", None)
        yield


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in SPACES:
        curve(name).to_csv(GOLDEN / f"{name}.csv", index=False)
        print(f"wrote {GOLDEN / name}.csv")
