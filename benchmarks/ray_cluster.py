"""The commands on a Ray cluster against the local ones, in time, processor time and memory.

    python benchmarks/ray_cluster.py              # ten minutes on two idle cores

The cluster is a head and one more node, as processes of this machine with a core each. Claims, the
starts not counted: colouring with two workers is at most 15% slower than the local command on the
same two cores; a worker that is killed costs seconds; memory of preprocess is flat. Processor time
is that of all processes, and comparable where the machine is busy with other things.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from colorgan import io, paths

# Beside this file.
from colorize import write_folder  # isort: skip
from memory import project  # isort: skip

COLORGAN = [sys.executable, "-m", "colorgan"]
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 200 << 20}


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, seconds of processors, and at most so many MB more."""

    seconds: float
    processor: float
    peak_mb: float


def cost(*arguments: str) -> Cost:
    """Run a command of colorgan, and measure all that runs meanwhile: the cluster too."""
    processors: dict[int, float] = {}

    def sample() -> float:
        total = 0.0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                times = process.cpu_times()
                processors[process.pid] = times.user + times.system
                total += process.memory_full_info().uss / 1e6
        return total

    before = peak = sample()
    spent, start = sum(processors.values()), time.perf_counter()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, sample())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    subprocess.run([*COLORGAN, *arguments], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    found = Cost(seconds, sum(processors.values()) - spent, peak - before)
    print(*arguments, found, flush=True)
    return found


def colorize(photos: Path, n: int) -> dict[str, dict[str, float]]:
    """Colour a folder locally, with one worker and two; what a photo costs, without the start."""
    one = photos.with_name("one")
    one.mkdir()
    shutil.copy(next(photos.iterdir()), one)

    def colored(way: str, folder: Path) -> Cost:
        out = f"{folder}-{way}"
        if way == "local":
            return cost("colorize", str(folder), "-o", out, "--device", "cpu")
        return cost("cluster", "colorize", str(folder), out, "--workers", way)

    found = {}
    for way in ("local", "1", "2"):
        start, whole = colored(way, one), colored(way, photos)
        found[way] = {
            "photos/s": (n - 1) / (whole.seconds - start.seconds),
            "processor ms": 1000 * (whole.processor - start.processor) / (n - 1),
            "start s": start.seconds,
        }
    return found


def seconds_after_kill(photos: Path) -> float:
    """Kill the one worker that colours; return how long nothing new appears in OUT."""
    out = Path("killed")
    command = [*COLORGAN, "cluster", "colorize", str(photos), str(out), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def wait_for_more_than(count: int) -> None:
        while len(list(out.glob("*.jpg"))) <= count and process.poll() is None:
            time.sleep(0.02)

    wait_for_more_than(0)
    running = psutil.process_iter(["cmdline"])
    next(p for p in running if "ray::MapWorker" in "".join(p.info["cmdline"] or ())).kill()
    start = time.perf_counter()
    wait_for_more_than(len(list(out.glob("*.jpg"))))
    seconds = time.perf_counter() - start
    if process.wait():
        raise SystemExit("colouring failed after the kill")
    return seconds


def preprocess(n: int) -> dict[str, float]:
    """Make arrays in each way, the start counted; return seconds, processor seconds and MB."""
    cost("download", "lab")
    found: dict[str, float] = {"photos": n}
    for name, words in (("local", []), ("cluster", ["cluster"])):
        measured = cost(*words, "preprocess", "lab")
        found[f"{name}, s"] = measured.seconds
        found[f"{name}, processor s"] = measured.processor
        found[f"{name}, MB"] = measured.peak_mb
    return found


def main(
    photos: Annotated[int, typer.Option(help="Photos to colour")] = 2000,
    rows: Annotated[str, typer.Option(help="Photos to preprocess")] = "25000,50000,100000",
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "cluster.json"
    ),
) -> None:
    """Measure and print."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    figures: dict[str, Any] = {"photos": photos, "preprocess": []}
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder, "photos"), photos)
        with chdir(folder):
            figures["colorize"] = colorize(Path("photos"), photos)
            figures["seconds after a kill"] = seconds_after_kill(Path("photos"))
    for n in map(int, rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            project(Path(folder), n)
            with chdir(folder):
                figures["preprocess"].append(preprocess(n))
    cluster.shutdown()
    io.write_json(out, figures)
    by_way = [{"colorize": way, **row} for way, row in figures["colorize"].items()]
    for part in (by_way, figures["preprocess"]):
        table = Table(*part[0])
        for row in part:
            table.add_row(*(v if isinstance(v, str) else f"{v:,.1f}" for v in row.values()))
        Console().print(table)
    print(f"after a kill nothing new for {figures['seconds after a kill']:.1f} s")


if __name__ == "__main__":
    typer.run(main)
