"""The whole training step, reading included: colorgan against the usual way, in turn, in one run.

    python benchmarks/step.py [--side 256 --batch 32]

The aim, on two CPU cores, is 2.5 times the images a second of benchmarks/usual.py (how far it is
reached: docs/performance.md), with the U-Net at 128 px, ngf and ndf 64, batch 16, LAB, on the
bundled photos. The usual way is tried with 0 and 2 workers, and the faster one counts. colorgan
reads arrays that were made once, which is not in the time; it runs as it does by itself, and once
more with torch.compile. Every way has a process of its own, so that no flag of one reaches another.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from colorgan import io, paths
from colorgan.benchmark.child import Steps, serve
from colorgan.benchmark.machine import describe
from colorgan.benchmark.measure import Child, FailedError, Turns, figures
from colorgan.benchmark.variants import Setting, variant
from colorgan.benchmark.workload import Workload, create_arrays
from colorgan.runs.runtime import choose_device
from colorgan.spaces import get_space
from usual import UsualPix2Pix

SIDE, BATCH, NGF = 128, 16, 64
PHOTOS = Path(__file__).parents[1] / "data" / "sample"
USUAL = {"usual_0": ("usual way, 0 workers", 0), "usual_2": ("usual way, 2 workers", 2)}
OURS = {"colorgan": ("colorgan", "all"), "compiled": ("colorgan, torch.compile", "all_compile")}


def photos() -> list[Path]:
    return sorted(PHOTOS.glob("*/*.webp"))


def write_arrays(setting: Setting, folder: Path) -> None:
    """Write the photos as the project's arrays, as preprocess does once."""
    found, space = photos(), get_space(setting.space)
    input, target = create_arrays(setting, len(found), folder)
    for i, path in enumerate(found):
        size = (setting.image_size, setting.image_size)
        image = Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        input[i], target[i] = space.arrays(np.asarray(image))
    input.flush()
    target.flush()


def start(order: dict[str, Any]) -> tuple[Callable[[], Steps], torch.device]:
    """Make one way, in its own process."""
    setting, way = Setting(**order["setting"]), order["way"]
    device = choose_device("auto")
    if way in USUAL:
        workers = USUAL[way][1]
        return lambda: UsualPix2Pix(
            photos(), setting.image_size, setting.batch_size, setting.ngf, workers
        ), device
    chosen = variant(OURS[way][1], describe(device))
    return lambda: Workload(setting, chosen, device, Path(order["folder"])), device


def measure(setting: Setting, seconds: float, rounds: int, ways: list[str]) -> dict[str, Any]:
    """Let all ways take turns; return a row each and the ratio of ours."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch) / setting.space
        write_arrays(setting, folder)
        started = {}
        for way in ways:
            command = (sys.executable, __file__, "--child")
            child = stack.enter_context(Child(command, Path(scratch), way))
            try:
                warmup = child.ask(way=way, setting=asdict(setting), folder=str(folder))["warmup"]
            except FailedError as error:
                # No compiler, for example; the others can still be compared.
                print(f"{way} is left out: {error}", file=sys.stderr)
                continue
            started[way] = child, warmup
        turns: dict[str, list[Turns]] = {way: [] for way in started}
        for i in range(rounds):
            # Backwards every other time: a machine that slows down favours none.
            for way in list(started)[:: -1 if i % 2 else 1]:
                turns[way].append(Turns(started[way][0].ask(measure=seconds)))
        rows = {
            way: figures(turns[way], setting, warmup, child.ask(memory=True)["bytes"])
            for way, (child, warmup) in started.items()
        }
    fastest = min((way for way in rows if way in USUAL), key=lambda way: rows[way]["ms"])
    for way, row in rows.items():
        pairs = zip(turns[fastest], turns[way], strict=True)
        row["ratio"] = statistics.median(usual.median / own.median for usual, own in pairs)
        row["label"] = (USUAL.get(way) or OURS[way])[0]
        row["name"] = way
    return {"usual": fastest, "ratio": rows["colorgan"]["ratio"], "ways": list(rows.values())}


def main(
    seconds: Annotated[float, typer.Option(help="Length of a turn of each way")] = 8.0,
    rounds: Annotated[int, typer.Option(help="Turns")] = 5,
    compiled: Annotated[bool, typer.Option(help="Also with torch.compile")] = True,
    side: Annotated[int, typer.Option(help="Side of the photos in pixels")] = SIDE,
    batch: Annotated[int, typer.Option(help="Photos of a step")] = BATCH,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "step.json"
    ),
) -> None:
    """Measure and print images a second."""
    setting = Setting("lab", side, batch, NGF, len(photos()) // batch)
    ways = [*USUAL, *OURS] if compiled else [*USUAL, "colorgan"]
    result = measure(setting, seconds, rounds, ways)
    machine = describe(choose_device("auto"))
    io.write_json(
        out,
        {"machine": asdict(machine), "setting": asdict(setting), "seconds": seconds,
         "rounds": rounds, **result},
    )  # fmt: skip
    table = Table("", "images/s", "ms a step", "waiting for data", "ratio", title=machine.name)
    for row in result["ways"]:
        table.add_row(
            row["label"], f"{row['images_per_second']:.1f}", f"{row['ms']:.0f}",
            f"{row['waiting']:.1%}", f"{row['ratio']:.2f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    if "--child" in sys.argv:
        serve(start)
    else:
        typer.run(main)
