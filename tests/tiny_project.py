"""Tiny parameters and arrays: what makes a folder a project in which tests can train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from colorgan import paths, presets
from colorgan.color import UInt8Array
from colorgan.config import SPACES, SPLITS
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo
from colorgan.spaces import get_space

SIDE = 32


def listing(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def tiny_params(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of params.yaml for tiny networks, with changes by dotted path."""
    # The two networks of pix2pix from random weights: quick to make, and all of a step's parts.
    content = presets.content("scratch")
    for space in SPACES:
        content[space] |= {"image_size": SIDE, "min_side": 16}
    content["model"] |= {"ngf": 2, "ndf": 2, "n_layers": 1}
    content["train"] |= {"batch_size": 4, "epochs": 2, "decay_start": 0.5}
    content["train"] |= {"amp": "off", "compile": "off"}
    content["logging"] |= {"log_every": 2, "sample_photos": 2}
    content["runtime"] |= {"device": "cpu", "num_workers": 0}
    return presets.changed(content, changes)


def dump_params(changes: Mapping[str, Any], folder: Path = Path()) -> None:
    """Write tiny parameters with changes into params.yaml, unchecked."""
    YAML().dump(tiny_params(changes), folder / paths.PARAMS)


def random_arrays(
    folder: Path, space: str, train: int = 10, val: int = 3, test: int = 3, side: int = SIDE
) -> Path:
    """Write arrays of noise, as preprocess would; return the folder."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(SPLITS, (train, val, test), strict=True):
        shape = (count, side, side)
        target = (*shape, get_space(space).out_channels)
        arrays[split] = [rng.integers(0, 256, size, dtype=np.uint8) for size in (shape, target)]
    _save(folder, space, arrays, ["sea"] * (train + val + test))
    return folder


def photo_arrays(
    folder: Path, space: str, photos: UInt8Array, labels: Sequence[str], split: str = "test"
) -> None:
    """Write photos `(N, H, H, 3)` as a split, as preprocess would."""
    inputs, targets = get_space(space).arrays(photos)
    nothing = [inputs[:0], targets[:0]]
    _save(folder, space, dict.fromkeys(SPLITS, nothing) | {split: [inputs, targets]}, labels)


def _save(
    folder: Path, space: str, arrays: Mapping[str, Sequence[UInt8Array]], labels: Sequence[str]
) -> None:
    """Write inputs and targets of each split, index.csv and dataset.json."""
    counts = {split: len(inputs) for split, (inputs, _) in arrays.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for split, (inputs, targets) in arrays.items():
        if len(inputs):
            (folder / split).mkdir()
            np.save(folder / split / "input.npy", inputs)
            np.save(folder / split / "target.npy", targets)
    places = [(split, i) for split, count in counts.items() for i in range(count)]
    rows = [
        [f"{split}{i}", split, label, "sample", 640, 480]
        for (split, i), label in zip(places, labels, strict=True)
    ]
    pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
    side, channels = targets.shape[2:]
    DatasetInfo(space, side, channels, counts, rejected=0, digest="0" * 64).write(folder)
