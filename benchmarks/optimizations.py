"""The effect of each optimization of the training step, against a plain base and the usual way.

    python benchmarks/optimizations.py                 # about 10 minutes on two CPU cores
    python benchmarks/optimizations.py --quick         # a small network, a minute
    python benchmarks/optimizations.py --only amp_bf16 --only all

A step is one update of the discriminator and one of the generator on bundled photos, with reading,
conversion to floats and augmentation. Each variant runs in a process of its own and takes turns
with the base, so that other work on the machine slows both. Writes the figures to
reports/benchmarks/optimizations-<machine>.json, a bar plot to docs/images/, and prints the table of
docs/performance.md.

The base is float32, channels first, without workers, with every flag off and PyTorch's default
Adam. `all` is what training does by default on this device; `usual` is benchmarks/usual.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
import pandas as pd
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.optim import Adam, Optimizer

from colorgan import io, presets
from colorgan.config import Params, check_params
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo, open_split
from colorgan.data.loader import Batches
from colorgan.runs import runtime as runtime_module
from colorgan.runs.runtime import Runtime, choose_device, cpu_computes_bf16
from colorgan.spaces import get_space
from colorgan.training.augment import prepare_batch
from colorgan.training.build import build_step
from usual import UsualPix2Pix

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "data" / "sample"
WARMUP, LOG_EVERY = 5, 10
"""Steps before the first timed one (compilation, cuDNN's trials); steps between reads of losses."""

BASE: dict[str, Any] = {
    "train.amp": "off",
    "train.channels_last": False,
    "train.compile": "off",
    "train.cudnn_benchmark": False,
    "train.cudnn_deterministic": False,
    "train.allow_tf32": False,
    "runtime.devices": 1,
    "runtime.num_workers": 0,
    # Not parameters of the project: page-locked batches, fused Adam, denormals as zeros, glibc
    # keeps freed memory.
    "pin_memory": False,
    "fused": False,
    "flush_denormal": False,
    "keep_memory": False,
}
TOGETHER = {
    "train.amp": "auto",
    "train.channels_last": True,
    "train.cudnn_benchmark": True,
    "train.allow_tf32": True,
    "pin_memory": True,
    "fused": True,
    "flush_denormal": True,
    "keep_memory": True,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "base again (noise)": {},
    **{f"num_workers {n}": {"runtime.num_workers": n} for n in (2, 4, 8)},
    "pin_memory": {"pin_memory": True},
    "cudnn_benchmark": {"train.cudnn_benchmark": True},
    "cudnn_deterministic": {"train.cudnn_deterministic": True},
    "allow_tf32": {"train.allow_tf32": True},
    "amp_fp16": {"train.amp": "fp16"},
    "amp_bf16": {"train.amp": "bf16"},
    "channels_last": {"train.channels_last": True},
    "fused Adam": {"fused": True},
    "denormals flushed": {"flush_denormal": True},
    "freed memory kept": {"keep_memory": True},
    "compile default": {"train.compile": "default"},
    "compile reduce-overhead": {"train.compile": "reduce-overhead"},
    "all": TOGETHER,
    "all, compile default": {**TOGETHER, "train.compile": "default"},
    "all, compile reduce-overhead": {**TOGETHER, "train.compile": "reduce-overhead"},
    "usual, 0 workers": {"usual": 0},
    "usual, 2 workers": {"usual": 2},
}
GPU_ONLY = ("pin_memory", "cudnn", "allow_tf32", "amp_fp16", "reduce-overhead")
CPU_ONLY = ("denormals flushed", "freed memory kept")
SLOW = ("num_workers 4", "num_workers 8", "compile")
"""Left out by --quick."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Network sizes and batch that all variants share: LAB, U-Net and PatchGAN."""

    image_size: int
    batch_size: int
    ngf: int


def missing(name: str, device: torch.device) -> str:
    """Return why a variant cannot run on this device; empty if it can."""
    if device.type != "cuda" and any(part in name for part in GPU_ONLY):
        return "needs an NVIDIA GPU"
    if device.type != "cpu" and name in CPU_ONLY:
        return "has an effect on a CPU only"
    if name == "amp_bf16" and device.type == "cpu" and not cpu_computes_bf16():
        return "this CPU does not compute in bfloat16"
    return ""


class Training:
    """The project's own step and loader, with the parameters of a variant."""

    def __init__(self, setting: Setting, changes: dict[str, Any], folder: Path) -> None:
        values = {**BASE, **changes}
        params = _params(setting, values)
        self._train, self._space = params.lab.train, get_space("lab")
        if not values["keep_memory"]:
            runtime_module.keep_freed_memory = lambda: None
        self.runtime = Runtime.decide(self._train, params.runtime)
        torch.set_flush_denormal(values["flush_denormal"])
        step = build_step(self._space, params.space("lab"), setting.image_size, self.runtime)
        if not values["fused"]:
            step = dataclasses.replace(
                step,
                optimizer_g=_default_adam(step.optimizer_g),
                optimizer_d=_default_adam(step.optimizer_d),
            )
        self._step, self._iteration = step, 0
        self._batches = Batches(
            open_split(folder, "train"),
            setting.batch_size,
            self._train.seed,
            params.runtime.num_workers,
            values["pin_memory"] and self.runtime.device.type == "cuda",
            self.runtime.group,
        )

    def batches(self) -> Iterator[Any]:
        """Yield batches on the device without end."""
        epoch = 0
        while True:
            for batch in self._batches.epoch(epoch):
                yield [x.to(self.runtime.device, non_blocking=True) for x in batch]
            epoch += 1

    def step(self, batch: Any) -> Tensor:
        """Take one training step; returns the losses on the device."""
        inputs = prepare_batch(self._space, self._train, batch, self._iteration, self.runtime.group)
        losses = self._step.train_step(*inputs, self._iteration)
        self._iteration += 1
        return losses


def _params(setting: Setting, values: dict[str, Any]) -> Params:
    """Return the parameters of the preset scratch with the setting and a variant over them."""
    content = presets.content("scratch")
    content["train"] |= {"batch_size": setting.batch_size, "init": "none"}
    content["model"] |= {"ngf": setting.ngf, "ndf": setting.ngf}
    content["lab"]["image_size"] = setting.image_size
    for name, value in values.items():
        section, _, key = name.partition(".")
        if key:
            content[section][key] = value
    return check_params(content)


def _default_adam(optimizer: Optimizer) -> Adam:
    group = optimizer.param_groups[0]
    return Adam(group["params"], group["lr"], group["betas"])


def write_arrays(setting: Setting, folder: Path) -> None:
    """Write the bundled photos as arrays of LAB, as preprocess does once."""
    space, photos = get_space("lab"), sorted(PHOTOS.glob("*/*.webp"))
    size = (setting.image_size, setting.image_size)
    pairs = [
        space.arrays(np.asarray(Image.open(photo).convert("RGB").resize(size))) for photo in photos
    ]
    (folder / "train").mkdir(parents=True)
    for name, arrays in zip(("input", "target"), zip(*pairs, strict=True), strict=True):
        np.save(folder / "train" / f"{name}.npy", np.stack(arrays))
    rows = [(p.stem, "train", "", "benchmark", *size) for p in photos]
    pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
    counts = {"train": len(photos), "val": 0, "test": 0}
    DatasetInfo("lab", size[0], 2, counts, 0, "benchmark").write(folder)


def child() -> None:
    """Take the steps of one variant, told by lines of JSON on standard input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not mix with the answers.
    order = json.loads(sys.stdin.readline())
    setting, changes = Setting(**order["setting"]), order["changes"]
    device = choose_device("auto")
    before, start = _memory("VmRSS"), time.perf_counter()
    work: Any
    if "usual" in changes:
        photos = sorted(PHOTOS.glob("*/*.webp"))
        sizes = setting.image_size, setting.batch_size, setting.ngf
        work = UsualPix2Pix(photos, *sizes, changes["usual"])
    else:
        work = Training(setting, changes, Path(order["folder"]))
    batches = work.batches()
    for _ in range(WARMUP):
        work.step(next(batches)).tolist()
    ready = {"warmup_seconds": time.perf_counter() - start}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        steps, waits = timed_steps(work, batches, device, float(line))
        on_gpu = device.type == "cuda"
        peak = torch.cuda.max_memory_allocated() if on_gpu else _memory("VmHWM") - before
        answer = {"steps": steps, "waits": waits, "bytes": peak}
        print(json.dumps(answer), file=answers, flush=True)


def timed_steps(
    work: Any, batches: Iterator[Any], device: torch.device, seconds: float
) -> tuple[list[float], list[float]]:
    """Take steps for so long; return the seconds of each, and of each the wait for its batch."""
    mark, elapsed = _clock(device)
    marks, end = [(None, mark())], time.perf_counter() + seconds
    while len(marks) <= 2 or time.perf_counter() < end:
        batch = next(batches)
        arrived = mark()
        losses = work.step(batch)
        marks.append((arrived, mark()))
        if len(marks) % LOG_EVERY == 0:
            losses.tolist()
    if device.type == "cuda":
        torch.cuda.synchronize()
    pairs = list(pairwise(marks))
    return (
        [elapsed(before, done) for (_, before), (_, done) in pairs],
        [elapsed(before, arrived) for (_, before), (arrived, _) in pairs],
    )


def _clock(device: torch.device) -> tuple[Callable[[], Any], Callable[[Any, Any], float]]:
    """Return how to mark a moment, and the seconds between two; a GPU marks them itself."""
    if device.type != "cuda":
        return time.perf_counter, lambda earlier, later: later - earlier

    def mark() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return mark, lambda earlier, later: earlier.elapsed_time(later) / 1e3


def _memory(field: str) -> int:
    """Return a field of /proc/self/status in bytes, 0 where there is none."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


class Child:
    """A process that runs one variant."""

    def __init__(self, name: str, setting: Setting, folder: Path) -> None:
        self._errors = folder.parent / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.log"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--child"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        order = {"setting": dataclasses.asdict(setting), "changes": VARIANTS[name],
                 "folder": str(folder)}  # fmt: skip
        self.ready = self.ask(json.dumps(order))
        self.turns: list[dict[str, Any]] = []

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and return the answer; RuntimeError with the process's last words if none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            said = self._errors.read_text().strip().splitlines() or ["it ended without a word"]
            raise RuntimeError(said[-1])
        found: dict[str, Any] = json.loads(answer)
        return found

    def turn(self, seconds: float) -> float:
        """Take steps for so long; return the median time of one."""
        self.turns.append(self.ask(str(seconds)))
        return statistics.median(self.turns[-1]["steps"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def row(self, batch_size: int, ratio: float) -> dict[str, Any]:
        """Return the figures of all turns."""
        steps = [step for turn in self.turns for step in turn["steps"]]
        low, median, high = statistics.quantiles(steps, n=4, method="inclusive")
        return {
            "images_per_second": batch_size / median,
            "ms": [1e3 * low, 1e3 * median, 1e3 * high],
            "ratio": ratio,
            "bytes": self.turns[-1]["bytes"],
            "waiting": sum(sum(turn["waits"]) for turn in self.turns) / sum(steps),
            "warmup_seconds": self.ready["warmup_seconds"],
        }


def measure(names: list[str], setting: Setting, seconds: float, rounds: int) -> dict[str, Any]:
    """Let each variant take turns with the base; return a row for each, and the machine."""
    device = choose_device("auto")
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "lab"
        write_arrays(setting, folder)
        base = Child("base", setting, folder)
        for name in names:
            if reason := missing(name, device):
                rows[name] = {"missing": reason}
                continue
            print(f"  {name}", file=sys.stderr, flush=True)
            try:
                other = Child(name, setting, folder)
            except RuntimeError as error:
                rows[name] = {"missing": f"failed: {error}"}
                continue
            ratios = []
            for i in range(rounds):
                # Each begins in half of the rounds: a machine that slows down favours neither.
                both = [other, base] if i % 2 else [base, other]
                times = {process: process.turn(seconds) for process in both}
                ratios.append(times[base] / times[other])
            rows[name] = other.row(setting.batch_size, statistics.median(ratios))
            other.close()
        if not base.turns:
            base.turn(seconds)
        rows = {"base": base.row(setting.batch_size, 1.0), **rows}
        base.close()
    return {
        "machine": machine_name(device), "torch": torch.__version__,
        "threads": torch.get_num_threads(), "setting": dataclasses.asdict(setting),
        "seconds": seconds, "rounds": rounds, "rows": rows,
    }  # fmt: skip


def machine_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the CPU with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def table(result: dict[str, Any]) -> str:
    """Return the rows as a Markdown table, and what could not be measured below it."""
    lines = [
        "| | images/s | ms a step (quartiles) | against base | peak memory | waiting for data |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in result["rows"].items():
        if "missing" not in row:
            low, median, high = row["ms"]
            lines.append(
                f"| {name} | {row['images_per_second']:,.1f} | {median:,.0f} ({low:,.0f} to "
                f"{high:,.0f}) | {row['ratio']:.2f} | {row['bytes'] / 2**30:.2f} GiB | "
                f"{row['waiting']:.1%} |"
            )
    absent = {name: row["missing"] for name, row in result["rows"].items() if "missing" in row}
    lines += ["", *(f"- not measured: {name} ({reason})" for name, reason in absent.items())]
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the speed of each variant against the base as bars."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    rows = {name: row["ratio"] for name, row in result["rows"].items() if "ratio" in row}
    figure, axes = pyplot.subplots(figsize=(7.2, 0.3 * len(rows) + 0.9), layout="constrained")
    colors = ["#9aa0a6" if name.startswith("base") else "#1f5fa8" for name in rows]
    bars = axes.barh(list(rows), list(rows.values()), color=colors)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axes.axvline(1.0, color="#202124", linewidth=0.8, zorder=0)
    axes.set_xlim(0, max(rows.values()) * 1.12)
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.set_xlabel("speed against base", fontsize=8)
    axes.set_title(result["machine"], fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    with io.file_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=150, metadata={"Software": None})


def main(
    only: Annotated[list[str] | None, typer.Option(help="Variants to measure; all without")] = None,
    image_size: Annotated[int, typer.Option(help="Side in pixels; 0: 256 on CUDA, else 128")] = 0,
    batch_size: Annotated[int, typer.Option(help="Photos; 0: 32 on CUDA, else 16")] = 0,
    ngf: int = 64,
    seconds: Annotated[float, typer.Option(help="Length of a turn")] = 3.0,
    rounds: Annotated[int, typer.Option(help="Turns of each variant")] = 3,
    quick: Annotated[bool, typer.Option(help="A small network, short turns")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the figures")] = ROOT / "reports/benchmarks",
    images: Annotated[Path, typer.Option(help="Folder of the plot")] = ROOT / "docs/images",
) -> None:
    """Measure, write figures and plot, print the table."""
    if unknown := set(only or ()) - set(VARIANTS):
        sys.exit(f"--only {unknown.pop()}: it should be one of {', '.join(VARIANTS)}")
    gpu = choose_device("auto").type == "cuda"
    setting = Setting(image_size or (256 if gpu else 128), batch_size or (32 if gpu else 16), ngf)
    names = only or [name for name in VARIANTS if name != "base"]
    if quick:
        setting, seconds, rounds = Setting(64, 8, 8), 0.3, 2
        names = only or [n for n in names if not any(slow in n for slow in SLOW)]
    result = measure(names, setting, seconds, rounds)
    slug = re.sub(r"[^a-z0-9]+", "-", result["machine"].lower()).strip("-")
    out.mkdir(parents=True, exist_ok=True)
    io.write_json(out / f"optimizations-{slug}.json", result)
    plot(result, images / f"optimizations-{slug}.png")
    print(table(result))


if __name__ == "__main__":
    child() if "--child" in sys.argv else typer.run(main)
