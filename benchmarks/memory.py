"""Memory and time of preprocess and loader from a thousand photos to a hundred thousand.

    python benchmarks/memory.py               # minutes, and 4 GB of disk

Claims: peak memory is flat (within 10%) and under 1.5 GB with two processes; time is linear. The
photos are the bundled ones at 64 px, repeated, each with a number behind its end so that none is
another's duplicate. Memory is what all processes hold for themselves (USS), sampled.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Annotated

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from colorgan import io, paths

SIDE = 64
LOADER = """
from pathlib import Path
import torch
from colorgan.data.arrays import open_split
from colorgan.data.loader import Batches
torch.set_num_threads(1)
batches = Batches(open_split(Path("data/processed/lab"), "train"), 32, 0)
for input, target in batches.epoch(0):
    pass
"""


def write_parquet(path: Path, n: int) -> None:
    """Write n small encoded photos, all different in their bytes."""
    encoded = []
    for source in sorted(Path("data/sample").glob("*/*.webp")):
        with Image.open(source) as image:
            buffer = BytesIO()
            image.convert("RGB").resize((96, 96)).save(buffer, "JPEG", quality=85)
            encoded.append(buffer.getvalue())
    schema = pa.schema([("webp", pa.binary()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, n, 1000):
            numbers = range(start, min(start + 1000, n))
            content = [encoded[i % len(encoded)] + i.to_bytes(4) for i in numbers]
            labels = [f"class {i % 10}" for i in numbers]
            writer.write_table(pa.table([content, labels], schema=schema), row_group_size=1000)


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its seconds and the peak memory of it and its children in MB."""
    start = time.perf_counter()
    process = psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    peak = 0.0
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(0.1):
            total = 0.0
            try:
                family = [process, *process.children(recursive=True)]
            except psutil.Error:
                continue
            for member in family:
                try:
                    total += member.memory_full_info().uss / 1e6
                except psutil.Error:
                    continue
            peak = max(peak, total)

    sampler = threading.Thread(target=sample)
    sampler.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    done.set()
    sampler.join()
    if code:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, peak


def project(folder: Path, n: int) -> None:
    """Make a project that takes its photos from a Parquet file."""
    write_parquet(folder / "photos.parquet", n)
    text = paths.PARAMS.read_text(encoding="utf-8")
    for old, new in (
        ("source: sample", "source: parquet"),
        ("path: data/sample", "path: photos.parquet"),
        ("split_column: split", "split_column: ''"),
        ("image_size: 192", f"image_size: {SIDE}"),
        ("min_side: 96", "min_side: 32"),
        ("preprocess_workers: auto", "preprocess_workers: 2"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def main(
    most: Annotated[int, typer.Option(help="Photos of the largest run")] = 100_000,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "memory.json"
    ),
) -> None:
    """Measure and print peak memory and time."""
    python = [sys.executable, "-m", "colorgan"]
    rows = []
    for n in [n for n in (1_000, 10_000, 100_000) if n <= most]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            project(folder, n)
            measured([*python, "download", "lab"], folder)
            seconds, peak = measured([*python, "preprocess", "lab"], folder)
            load_seconds, load_peak = measured([sys.executable, "-c", LOADER], folder)
            rows.append(
                {
                    "photos": n,
                    "preprocess_seconds": seconds,
                    "preprocess_mb": peak,
                    "loader_seconds": load_seconds,
                    "loader_mb": load_peak,
                }
            )
    io.write_json(out, {"side": SIDE, "rows": rows})
    table = Table("photos", "preprocess s", "peak MB", "loader s", "peak MB")
    for row in rows:
        table.add_row(*(f"{value:,.0f}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
