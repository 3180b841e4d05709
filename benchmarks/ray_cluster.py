"""The commands on a Ray cluster against the local ones, with the same cores, in one run.

    python benchmarks/ray_cluster.py              # a quarter of an hour on two idle cores

The cluster is a head and one more node, as processes of this machine with a core each. Claims, the
starts not counted: colouring with two workers is at most 15% slower than the local command on the
same two cores; a worker that is killed costs seconds.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from colorgan import io, paths

# Beside this file.
from colorize import write_folder  # isort: skip
from memory import write_parquet  # isort: skip

COLORGAN = [sys.executable, "-m", "colorgan"]
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 200 << 20}


def seconds(*arguments: str) -> float:
    """Run a command of colorgan; return how long it took."""
    start = time.perf_counter()
    subprocess.run([*COLORGAN, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def speed(*arguments: str) -> float:
    """Run a command of `colorgan cluster`; return the photos a second that it says at its end."""
    command = [*COLORGAN, "cluster", *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.findall(r"([\d.]+) photos/s", said)[-1])


def colorize(photos: Path, n: int) -> dict[str, float]:
    """Colour a folder in each way; return photos a second, and what a killed worker costs."""
    few = photos.with_name("few")
    few.mkdir()
    shutil.copy(next(photos.iterdir()), few)
    start = seconds("colorize", str(few), "-o", "few-out")
    found = {"local": n / (seconds("colorize", str(photos), "-o", "local-out") - start)}
    for workers in ("1", "2"):
        out = f"out-{workers}"
        found[f"cluster, {workers}"] = speed("colorize", str(photos), out, "--workers", workers)
    before = time.perf_counter()
    speed("colorize", str(photos), "unbroken-out")
    unbroken, before = time.perf_counter() - before, time.perf_counter()
    process = subprocess.Popen([*COLORGAN, "cluster", "colorize", str(photos), "killed-out"])
    while len(list(Path("killed-out").glob("*.jpg"))) < n // 2 and process.poll() is None:
        time.sleep(0.05)
    running = psutil.process_iter(["cmdline"])
    next(p for p in running if "ray::MapWorker" in "".join(p.info["cmdline"] or ())).kill()
    assert process.wait() == 0
    return found | {"a kill costs, s": time.perf_counter() - before - unbroken}


def preprocess(n: int) -> dict[str, float]:
    """Make arrays in each way; return photos a second, in which the local start counts."""
    write_parquet(Path("photos.parquet"), n)
    yaml = YAML()
    params = yaml.load(paths.PARAMS)
    params["lab"] |= {"source": "parquet", "path": "photos.parquet", "image_size": 64}
    params["lab"] |= {"min_side": 64, "max_rejected": 1.0}
    params["lab"]["parquet"]["split_column"] = ""
    params["runtime"]["preprocess_workers"] = 2
    yaml.dump(params, paths.PARAMS)
    seconds("download", "lab")
    found = {"local": n / seconds("preprocess", "lab")}
    return found | {"cluster, 2": speed("preprocess", "lab", "--workers", "2")}


def main(
    photos: Annotated[int, typer.Option(help="Photos to colour")] = 2000,
    rows: Annotated[int, typer.Option(help="Photos to preprocess")] = 20_000,
    out: Annotated[Path, typer.Option(help="Where the figures go")] = (
        paths.REPORTS / "benchmarks" / "cluster.json"
    ),
) -> None:
    """Measure and print."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    out, project = out.absolute(), Path.cwd()
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    os.environ["RAY_ADDRESS"] = cluster.address
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder, "photos"), photos)
        os.chdir(folder)
        shutil.copy(project / paths.PARAMS, paths.PARAMS)
        Path("data").mkdir()
        (Path("data") / "sample").symlink_to(project / "data" / "sample")
        figures = {"photos": photos, "rows": rows, "colorize": colorize(Path("photos"), photos)}
        figures["preprocess"] = preprocess(rows)
        os.chdir(project)
    cluster.shutdown()
    io.write_json(out, figures)
    table = Table("photos/s", *figures["colorize"])
    table.add_row("colorize", *(f"{value:.1f}" for value in figures["colorize"].values()))
    table.add_row("preprocess", *(f"{value:.1f}" for value in figures["preprocess"].values()))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
