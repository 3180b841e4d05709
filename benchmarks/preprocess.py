"""Photos to arrays: this project's way against the usual loop, in one run.

    python benchmarks/preprocess.py

Claims, for photos as cameras make them (here 1500 px): at least 6 times the images a second of the
usual per-image loop (PIL open, resize, `skimage.color.rgb2lab`) on two cores, processes started
included; and, on one core, within 1.5 times of decoding and resizing alone. The smaller the photos
(here 500 px), the less there is to save: a JPEG is decoded at a fraction of its size.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from colorgan import io, paths
from colorgan.config import load_params
from colorgan.data.decode import RawPhoto
from colorgan.data.preprocess import Converter, convert_all, square

SIDE = 128


@dataclass(frozen=True)
class Files:
    """JPEG files as a source would give them."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Sequence[int]) -> Iterator[RawPhoto]:
        """Read the files one by one."""
        for row in rows:
            yield RawPhoto(self.paths[row].read_bytes(), self.paths[row].name)


def make_photos(folder: Path, n: int, long_side: int = 500) -> tuple[Path, ...]:
    """Write n JPEG photos, the bundled ones enlarged and repeated."""
    encoded = []
    for source in sorted(Path("data/sample").glob("*/*.webp")):
        with Image.open(source) as image:
            scale = long_side / max(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            buffer = BytesIO()
            image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(
                buffer, "JPEG", quality=90
            )
            encoded.append(buffer.getvalue())
    made = tuple(folder / f"{i:06}.jpg" for i in range(n))
    for i, path in enumerate(made):
        path.write_bytes(encoded[i % len(encoded)])
    return made


def usual(photos: Files) -> None:
    """Do what tutorials do: one photo after the other, a float64 conversion each."""
    from skimage.color import rgb2lab

    for path in photos.paths:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        lab = rgb2lab(np.asarray(resized)).astype(np.float32)
        assert lab.shape == (SIDE, SIDE, 3)


def decode_and_resize(photos: Files) -> None:
    """Do the part that cannot be left out."""
    for photo in photos.read(range(len(photos))):
        square(photo.decode(SIDE), SIDE)


def ours(photos: Files, n_workers: int) -> None:
    """Convert as the stage does."""
    data = load_params().lab.data.model_copy(update={"image_size": SIDE, "min_side": 64})
    with tempfile.TemporaryDirectory() as folder:
        converter = Converter("lab", data, Path(folder) / "scratch")
        convert_all(converter, photos.read(range(len(photos))), n_workers)


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(
    n: Annotated[int, typer.Option(help="Photos of each size")] = 3000,
    rounds: Annotated[int, typer.Option(help="Times each way is measured, in turn")] = 3,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "preprocess.json"
    ),
) -> None:
    """Measure and print images a second."""
    results = {f"{size} px": measure(n, size, rounds) for size in (500, 1500)}
    io.write_json(out, {"photos": n, "rounds": rounds, "side": SIDE, **results})
    table = Table("", *results, title=f"{n} JPEG photos to {SIDE} px LAB arrays, images/s")
    for name in next(iter(results.values())):
        digits = 2 if "/" in name else 0
        table.add_row(name, *(f"{result[name]:.{digits}f}" for result in results.values()))
    Console().print(table)


def measure(n: int, long_side: int, rounds: int) -> dict[str, float]:
    """Return images a second of each way, and the two ratios."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Files(make_photos(Path(folder), n, long_side))
        ways: dict[str, Callable[[], None]] = {
            "usual loop": lambda: usual(photos),
            "decode and resize alone, one process": lambda: decode_and_resize(photos),
            "colorgan, one process": lambda: ours(photos, 0),
            "colorgan, two processes": lambda: ours(photos, 2),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(seconds(way))
    speed = {name: n / statistics.median(measured) for name, measured in times.items()}
    return speed | {
        "two processes / usual loop": speed["colorgan, two processes"] / speed["usual loop"],
        "decode and resize alone / colorgan, one process": (
            speed["decode and resize alone, one process"] / speed["colorgan, one process"]
        ),
    }


if __name__ == "__main__":
    typer.run(main)
