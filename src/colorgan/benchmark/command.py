"""The command `benchmark`: measure, keep the figures, write the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from colorgan import io, paths
from colorgan.benchmark import page
from colorgan.benchmark.machine import Machine, describe
from colorgan.benchmark.measure import measure_all
from colorgan.benchmark.variants import Setting, all_variants
from colorgan.errors import ParamsError
from colorgan.networks.unet import unet_depth
from colorgan.runs.runtime import choose_device

FOLDER = paths.REPORTS / "benchmarks"
SECONDS, ROUNDS = 9.0, 3
QUICK_SECONDS, QUICK_ROUNDS = 0.8, 2
QUICK_LEAVES_OUT = ("num_workers_4", "num_workers_8", "compile", "compile_graphs", "all_compile",
                    "all_graphs")  # fmt: skip


def benchmark(
    device: str = "auto",
    image_size: int | None = None,
    batch_size: int | None = None,
    ngf: int | None = None,
    space: str = "lab",
    seconds: float | None = None,
    quick: bool = False,
) -> Path:
    """Measure every optimization on this machine and write the page; return the figures' file.

    Args:
        device: auto, cpu, cuda or mps.
        image_size: side in pixels; None is 256 on CUDA, 128 elsewhere.
        batch_size: photos of a step; None is 32 on CUDA, 16 elsewhere.
        ngf: channels of the first layers; None is 64.
        space: rgb or lab.
        seconds: that each variant is timed.
        quick: a small network, a second each, without torch.compile.

    Raises:
        ParamsError: a size that the networks do not fit, or a device that is not there.
        ColorganError: not even the base can be measured, out of memory for example.
    """
    chosen = choose_device(device)
    machine = describe(chosen)
    usual = default_setting(machine, quick=quick)
    setting = Setting(
        space, image_size or usual.image_size, batch_size or usual.batch_size, ngf or usual.ngf,
        usual.batches,
    )  # fmt: skip
    _check(setting)
    console = Console()
    console.print(f"benchmark: {machine.name}, {setting}")
    result = measure_all(
        setting,
        machine,
        all_variants(machine),
        seconds or (QUICK_SECONDS if quick else SECONDS),
        QUICK_ROUNDS if quick else ROUNDS,
        lambda what: console.print(f"  measuring {what}"),
        QUICK_LEAVES_OUT if quick else (),
    )
    result["quick"] = quick
    return keep(result, machine, default_setting(machine))


def keep(result: dict[str, Any], machine: Machine, usual: Setting) -> Path:
    """Write the figures of a run and the page of all; return the file of the figures.

    A run at another setting than the usual one has a file of its own beside it.
    """
    setting = Setting(**result["setting"])
    own = "" if setting == usual and not result["quick"] else (
        f"-{setting.space}-{setting.image_size}px-ngf{setting.ngf}-batch{setting.batch_size}"
    )  # fmt: skip
    path = FOLDER / f"performance-{machine.slug}{own}.json"
    io.write_json(path, result)
    console = Console()
    console.print(page.table(result))
    for line in page.missing_lines(result):
        console.print(line)
    written = page.write(FOLDER)
    console.print(f"{path}, {written}")
    return path


def default_setting(machine: Machine, *, quick: bool = False) -> Setting:
    """Return what is measured where nothing else is asked for: the sizes of the paper on a GPU."""
    on_gpu = machine.kind == "cuda"
    if quick:
        return Setting("lab", 64, 16, 16, batches=16)
    return Setting("lab", 256, 32, 64, batches=64) if on_gpu else Setting("lab", 128, 16, 64, 16)


def _check(setting: Setting) -> None:
    """Refuse sizes that the networks do not fit."""
    try:
        unet_depth(setting.image_size)
    except ValueError as error:
        raise ParamsError(f"--image-size: {error}") from None
