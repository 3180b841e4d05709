"""The project's own training step and loader, set up as a variant says.

All that the benchmark knows of the rest of the package is here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from torch.optim import Adam, Optimizer

from colorgan.benchmark.variants import Setting, Variant
from colorgan.config import Params, check_params, read_yaml
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo, open_split
from colorgan.data.loader import AUGMENTATION, Batch, ahead, open_batches, stream
from colorgan.networks import convolution
from colorgan.runs import runtime as runtime_module
from colorgan.runs.runtime import Runtime
from colorgan.spaces import get_space
from colorgan.training.augment import Moves, augment, in_layout
from colorgan.training.build import build_step

BASE_TRAIN: dict[str, Any] = {
    "init": "none",
    "warmup_iterations": 0,
    "grad_clip": 0.0,
    "ema_decay": 0.0,
    "amp": "off",
    "channels_last": False,
    "compile": "off",
    "sync_batchnorm": False,
    "cudnn_benchmark": False,
    "cudnn_deterministic": False,
    "allow_tf32": False,
    "flip": True,
    "jitter": 0.0,
    "noise": 0.0,
}
BASE_RUNTIME: dict[str, Any] = {
    "devices": 1,
    "num_workers": 0,
    "pin_memory": False,
    "device_cache": False,
}
BASE_MODEL: dict[str, Any] = {"generator": "unet", "dropout": 0.5, "norm": "batch", "n_layers": 3}


class Workload:
    """One variant, ready to take steps."""

    def __init__(
        self, setting: Setting, variant: Variant, device: torch.device, folder: Path
    ) -> None:
        params = _params(setting, variant, device)
        own, space = params.space(setting.space), get_space(setting.space)
        if not variant.keep_memory:
            # The C library has no way back once it is told to.
            runtime_module.keep_freed_memory = lambda: None
        if not variant.products:
            convolution.MOST_PIXELS = 0
        self.runtime = Runtime.decide(own.train, params.runtime)
        torch.set_flush_denormal(variant.flush_denormal)
        self.device = self.runtime.device
        torch.manual_seed(own.train.seed)
        self._space, self._train, self._iteration = space, own.train, 0
        step = build_step(space, own, setting.image_size, self.runtime)
        if not variant.fused:
            step = dataclasses.replace(
                step, optimizer_g=_unfused(step.optimizer_g), optimizer_d=_unfused(step.optimizer_d)
            )
        self._step = step
        self._batches = open_batches(
            open_split(folder, "train"),
            setting.batch_size,
            own.train.seed,
            params.runtime.num_workers,
            self.device,
            self.runtime.pin_memory,
            params.runtime.device_cache,
            self.runtime.group,
        )

    def batches(self) -> Iterator[Batch]:
        """Yield batches on the device, epoch after epoch, without end."""
        epoch = 0
        while True:
            yield from ahead(self._batches.epoch(epoch), self.device)
            epoch += 1

    def step(self, batch: Batch) -> Tensor:
        """Encode and augment a batch and update both networks; return the losses."""
        train = self._train
        random = stream(train.seed, self._iteration, AUGMENTATION)
        encoded = augment(
            *self._space.encode(*batch),
            Moves.draw(len(batch[0]), random),
            flip=train.flip,
            jitter=train.jitter,
        )
        laid_out = in_layout(encoded, channels_last=train.channels_last)
        losses = self._step.train_step(*laid_out, self._iteration)
        self._iteration += 1
        return losses


def create_arrays(
    setting: Setting, n: int, folder: Path
) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    """Make the arrays of `n` training photos in the on-disk format, input and target, to fill."""
    space, side = get_space(setting.space), setting.image_size
    (folder / "train").mkdir(parents=True)
    input, target = (
        open_memmap(folder / "train" / f"{name}.npy", "w+", np.uint8, shape)
        for name, shape in (
            ("input", (n, side, side)),
            ("target", (n, side, side, space.out_channels)),
        )
    )
    rows = [(str(i), "train", "", "benchmark", side, side) for i in range(n)]
    pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
    counts = {"train": n, "val": 0, "test": 0}
    DatasetInfo(setting.space, side, space.out_channels, counts, 0, "benchmark").write(folder)
    return input, target


def write_photos(setting: Setting, folder: Path) -> None:
    """Write random photos: nothing that is measured looks at the pictures."""
    rng = np.random.default_rng(0)
    n = setting.batches * setting.batch_size
    for array in create_arrays(setting, n, folder):
        for start in range(0, n, setting.batch_size):
            batch = array[start : start + setting.batch_size]
            batch[:] = rng.integers(0, 256, batch.shape, np.uint8)
        array.flush()


def _params(setting: Setting, variant: Variant, device: torch.device) -> Params:
    """Lay the setting and the variant over the parameters of pix2pix."""
    # Read here and not by `presets`, which needs a package that bare machines lack.
    with resources.as_file(resources.files("colorgan") / "presets") as folder:
        content = read_yaml(folder / "default.yaml")
        for section, values in read_yaml(folder / "scratch.yaml").items():
            content[section] |= values
    params = check_params(content)
    own = params.space(setting.space)
    train = own.train.model_copy(
        update={**BASE_TRAIN, **variant.train, "batch_size": setting.batch_size}
    )
    model = own.model.model_copy(update={**BASE_MODEL, "ngf": setting.ngf, "ndf": setting.ngf})
    runtime = params.runtime.model_copy(
        update={**BASE_RUNTIME, **variant.runtime, "device": device.type}
    )
    own = own.model_copy(update={"train": train, "model": model})
    return params.model_copy(update={setting.space: own, "runtime": runtime})


def _unfused(optimizer: Optimizer) -> Adam:
    """Return Adam as PyTorch makes it by default, with the rates of another."""
    group = optimizer.param_groups[0]
    return Adam(group["params"], group["lr"], group["betas"])
