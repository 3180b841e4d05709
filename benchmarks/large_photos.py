"""Time and peak memory of `colorgan colorize` on photos of 1 pixel, 24 and 200 megapixels.

    python benchmarks/large_photos.py         # minutes, and up to 1 GB of temporary files

Claim: memory grows in proportion to the number of pixels. The photos are JPEGs of a bundled one,
enlarged, with grain. Memory is the sampled unique set size (USS) of the process; the photo of one
pixel shows what Python and the weights take.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from colorgan import paths
from memory import measured

GRAIN = 512
SIZES = {"1 px": (1, 1), "24 MP": (6000, 4000), "200 MP": (16_000, 12_500)}


def write_photo(path: Path, mode: str, width: int, height: int) -> None:
    """Write a JPEG like an enlarged scan: no sharp edges, grain everywhere."""
    source = sorted(paths.SAMPLE.glob("landscape/*.webp"))[0]
    grain = np.random.default_rng(0).normal(0, 5, (GRAIN, GRAIN)).round().astype(np.int16)
    with Image.open(source) as image:
        large = image.convert("L").resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.array(large)
    for top in range(0, height, GRAIN):
        strip = pixels[top : top + GRAIN]
        rows = np.tile(grain, (1, width // GRAIN + 1))[: len(strip), :width]
        strip[:] = np.clip(strip + rows, 0, 255)
    Image.fromarray(pixels).convert(mode).save(path, quality=90)


def main(
    modes: Annotated[str, typer.Option(help="L for gray JPEGs, RGB for those of a scanner")] = (
        "L,RGB"
    ),
) -> None:
    """Colour each photo in a process of its own, and print what that took."""
    table = Table("photo", "MB of the file", "s", "peak MB", "peak MB a megapixel, above 1 px")
    for mode in modes.split(","):
        least = 0.0
        for name, (width, height) in SIZES.items():
            with tempfile.TemporaryDirectory() as folder:
                photo = Path(folder) / "photo.jpg"
                write_photo(photo, mode, width, height)
                arguments = [str(photo), "-o", str(Path(folder) / "out"), "--device", "cpu"]
                command = [sys.executable, "-m", "colorgan", "colorize", *arguments]
                seconds, peak = measured(command, Path.cwd())
                size = photo.stat().st_size / 1e6
            least = least or peak
            growth = (peak - least) * 1e6 / (width * height)
            figures = (f"{size:.1f}", f"{seconds:.1f}", f"{peak:,.0f}", f"{growth:.1f}")
            table.add_row(f"{name} {mode}", *figures)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
