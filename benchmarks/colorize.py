"""Speed and memory of `colorgan colorize` and of the page, compared with a plain script.

    python benchmarks/colorize.py             # about five minutes

The plain script colours one photo after the other with Pillow, scikit-image's Lab and the same
generator in PyTorch, at the photo's size. Claims, on two CPU cores:

- a folder of 256 px photos: 30 photos a second or more, over twice as fast as the plain script;
- the same memory for 200 and for 2,000 photos;
- a JPEG of 24 megapixels: 4 s and 1.5 GB;
- the page: first picture 8 s after its start, the next in 1 s.

Photos are the bundled ones. Every time includes starting the command.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from colorgan import io, paths

# Beside this file.
from hints import served  # isort: skip
from large_photos import write_photo  # isort: skip
from memory import measured  # isort: skip

COLORIZE = [sys.executable, "-m", "colorgan", "colorize", "--device", "cpu"]
PLAIN = """
import sys
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from skimage import color
from colorgan.model import Model
model = Model.load(Path("models/pretrained"))
source, target = map(Path, sys.argv[1:])
target.mkdir()
for photo in sorted(source.iterdir()):
    image = Image.open(photo).convert("RGB")
    lab = color.rgb2lab(np.asarray(image))
    light = torch.tensor(lab[None, None, :, :, 0] / 50 - 1, dtype=torch.float32)
    lab[..., 1:] = 110 * model.predict(light)[0].permute(1, 2, 0).numpy()
    rgb = (255 * color.lab2rgb(lab).clip(0, 1)).round().astype(np.uint8)
    Image.fromarray(rgb).save(target / photo.name, quality=95)
"""


def write_folder(folder: Path, n: int) -> None:
    """Write n gray JPEGs of 256 px, repeating the bundled photos."""
    sources = sorted(paths.SAMPLE.glob("*/*.webp"))
    folder.mkdir()
    for i in range(n):
        with Image.open(sources[i % len(sources)]) as image:
            gray = ImageOps.fit(image.convert("L"), (256, 256))
        gray.save(folder / f"{i:04d}.jpg", quality=92)


def folders(scratch: Path, rounds: int, n: int) -> dict[str, float]:
    """Colour a folder in both ways alternately; return the median photos a second of each."""
    write_folder(scratch / "photos", n)
    ways = {
        "colorize": [*COLORIZE, str(scratch / "photos"), "-o"],
        "plain": [sys.executable, "-c", PLAIN, str(scratch / "photos")],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, command in ways.items():
            out = scratch / f"{name}-{number}"
            seconds[name].append(measured([*command, str(out)], Path.cwd())[0])
    return {name: n / statistics.median(values) for name, values in seconds.items()}


def page(scratch: Path) -> dict[str, float]:
    """Start the page; return the seconds to its first picture and for the next, of 1 megapixel."""
    write_photo(scratch / "page.jpg", "L", 1250, 800)
    content = (scratch / "page.jpg").read_bytes()
    start = time.perf_counter()
    with served() as page:

        def color() -> None:
            page.color(page.send(content), "file", [])

        color()
        first = time.perf_counter() - start
        times = []
        for _ in range(5):
            start = time.perf_counter()
            color()
            times.append(time.perf_counter() - start)
    return {"page_first_s": first, "page_next_s": statistics.median(times)}


def main(
    rounds: Annotated[int, typer.Option(help="How often each way colours the folder")] = 3,
    photos: Annotated[int, typer.Option(help="Photos of the folder")] = 400,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "colorize.json"
    ),
) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        speed = folders(scratch, rounds, photos)
        figures = {f"{name}_photos_a_second": value for name, value in speed.items()}
        figures["times_as_fast"] = speed["colorize"] / speed["plain"]
        for n in (200, 2000):
            write_folder(scratch / f"{n}", n)
            command = [*COLORIZE, str(scratch / f"{n}"), "-o", str(scratch / f"{n}-out")]
            figures[f"peak_mb_of_{n}_photos"] = measured(command, Path.cwd())[1]
        write_photo(scratch / "large.jpg", "RGB", 6000, 4000)
        command = [*COLORIZE, str(scratch / "large.jpg"), "--overwrite", "-o"]
        large = [measured([*command, str(scratch / "l.jpg")], Path.cwd()) for _ in range(rounds)]
        figures["24_megapixels_s"] = statistics.median(seconds for seconds, _ in large)
        figures["24_megapixels_peak_mb"] = max(peak for _, peak in large)
        figures |= page(scratch)
    io.write_json(out, figures)
    table = Table("", "")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
