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

from colorgan import paths, presets
from colorgan.color import UInt8Array
from colorgan.config import SPACES, Params, SpaceName, check_params
from colorgan.tracking.run import Recorder, RunDescription
from colorgan.training import train as stage
from tiny_project import photo_arrays

GOLDEN = Path(__file__).parent / "golden"
SIDE, PHOTOS = 64, 20
# Everything that the numbers depend on is named here: the project's own values may change.
MODEL = {
    "generator": "unet",
    "ngf": 8,
    "dropout": 0.5,
    "norm": "batch",
    "discriminator": "patch",
    "ndf": 8,
    "n_layers": 2,
}
TRAIN = {
    "init": "none",
    "batch_size": 4,
    "epochs": 5,
    "lr": 0.0002,
    "lr_schedule": "linear",
    "decay_start": 0.4,
    "gan_start": 0.0,
    "gan_gate": 0.0,
    "fake_chroma": 1.0,
    "freeze_encoder": False,
    "calibrate_gain": False,
    "init_discriminator": "none",
    "lr_d_factor": 1.0,
    "beta1_d": 0.5,
    "beta2_d": 0.999,
    "warmup_iterations": 0,
    "ema_decay": 0.0,
    "beta1": 0.5,
    "beta2": 0.999,
    "lambda_l1": 10,
    "flip": True,
    "jitter": 0.1,
    "amp": "off",
    "channels_last": True,
    "compile": "off",
    "seed": 1,
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
            assert stage.train(_params(), space) == 0
            return pd.read_csv(paths.losses(space))
    finally:
        torch.set_num_threads(threads)


def _params() -> Params:
    content = presets.content("scratch")
    for space in SPACES:
        content[space] |= {"image_size": SIDE, "model": {}, "train": {}}
    content["model"] |= MODEL
    content["train"] |= TRAIN
    content["logging"] |= {"log_every": 1}
    content["runtime"] |= {"device": "cpu", "devices": 1, "num_workers": 0}
    return check_params(content)


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
