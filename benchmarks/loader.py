"""Reading batches: this project's loader against the usual `__getitem__`, on one core.

    python benchmarks/loader.py

Claim: at least 100 times the images a second at 256 px, where the usual way opens, resizes and
converts each photo whenever it is asked for (PIL, `skimage.color.rgb2lab`, to tensor), and ours
copies uint8 rows out of a memory map. The conversion to floats, which the training step does on
its device, is shown on its own and together with reading, here on the same core.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage.color import rgb2lab
from torch.utils.data import DataLoader, Dataset

from colorgan import io, paths
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo, open_split
from colorgan.data.loader import Batches
from colorgan.runs.runtime import keep_freed_memory
from colorgan.spaces import get_space
from preprocess import make_photos

SIDE, BATCH = 256, 32


class Usual(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A dataset as tutorials write it."""

    def __init__(self, photos: tuple[Path, ...]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = (
            Image.open(self.photos[i]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        )
        lab = torch.from_numpy(rgb2lab(np.asarray(image)).astype(np.float32)).permute(2, 0, 1)
        return lab[:1] / 50 - 1, lab[1:] / 110


def usual_speed(photos: tuple[Path, ...]) -> float:
    start = time.perf_counter()
    n = sum(len(inputs) for inputs, _ in DataLoader(Usual(photos), BATCH, shuffle=True))
    return n / (time.perf_counter() - start)


def our_speed(folder: Path, epochs: int, *, convert: bool) -> float:
    space = get_space("lab")
    batches = Batches(open_split(folder, "train"), BATCH, 0)
    start = time.perf_counter()
    n = 0
    for epoch in range(epochs):
        for input, target in batches.epoch(epoch):
            if convert:
                encoded, wanted = space.encode(input, target)
                assert encoded.dtype == wanted.dtype == torch.float32
            n += len(input)
    return n / (time.perf_counter() - start)


def write_arrays(folder: Path, n: int) -> None:
    """Write random arrays in the on-disk format: a copy costs the same whatever is copied."""
    rng = np.random.default_rng(0)
    (folder / "train").mkdir(parents=True)
    np.save(folder / "train" / "input.npy", rng.integers(0, 256, (n, SIDE, SIDE), np.uint8))
    np.save(folder / "train" / "target.npy", rng.integers(0, 256, (n, SIDE, SIDE, 2), np.uint8))
    rows = [(str(i), "train", "", "made", SIDE, SIDE) for i in range(n)]
    pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
    DatasetInfo("lab", SIDE, 2, {"train": n, "val": 0, "test": 0}, 0, "made").write(folder)


def main(
    rounds: Annotated[int, typer.Option(help="Times each way is measured, in turn")] = 5,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "loader.json"
    ),
) -> None:
    """Measure and print images a second."""
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        photos = make_photos(Path(scratch), 128)
        folder = Path(scratch) / "lab"
        write_arrays(folder, 2048)
        our_speed(folder, 1, convert=True)
        rows = [
            (
                usual_speed(photos),
                our_speed(folder, 2, convert=False),
                our_speed(folder, 2, convert=True),
            )
            for _ in range(rounds)
        ]
    result = {
        "usual": statistics.median(usual for usual, _, _ in rows),
        "loader": statistics.median(read for _, read, _ in rows),
        "loader_and_conversion": statistics.median(both for _, _, both in rows),
        "ratio_loader": statistics.median(read / usual for usual, read, _ in rows),
        "ratio_with_conversion": statistics.median(both / usual for usual, _, both in rows),
    }
    io.write_json(out, {"side": SIDE, "batch_size": BATCH, "rounds": rounds, **result})
    table = Table("", "images/s", title=f"Batches of {BATCH} at {SIDE} px, LAB, one core")
    table.add_row("usual __getitem__", f"{result['usual']:.0f}")
    table.add_row("colorgan, batches of bytes", f"{result['loader']:.0f}")
    table.add_row("colorgan, converted to floats", f"{result['loader_and_conversion']:.0f}")
    table.add_row("ratio, batches of bytes", f"{result['ratio_loader']:.0f}")
    table.add_row("ratio, converted to floats", f"{result['ratio_with_conversion']:.0f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
