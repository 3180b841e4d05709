"""The machine at hand: its name, what it computes in, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from colorgan.runtime import cpu_computes_bf16
from colorgan.training.compiling import compiler_missing

CPU_SIDES = (1024, 2048, 3072)
GPU_SIDES = (4096, 8192, 16384)
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Machine:
    """What figures hold for.

    Attributes:
        kind: cpu, cuda or mps.
        name: as its maker calls it, with the number of cores of a CPU.
        torch: version of PyTorch.
        system: operating system and architecture.
        threads: threads that PyTorch computes with on the CPU.
        arithmetics: what its matrix units compute in: float32, tf32, bf16, fp16.
        compiler_missing: what torch.compile lacks here; empty where it has all.
    """

    kind: str
    name: str
    torch: str
    system: str
    threads: int
    arithmetics: tuple[str, ...]
    compiler_missing: str = ""

    @property
    def slug(self) -> str:
        """Its name as part of a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def describe(device: torch.device) -> Machine:
    """Describe the machine as it trains on `device`."""
    return Machine(
        device.type,
        _name(device),
        torch.__version__,
        f"{platform.system()} {platform.machine()}",
        torch.get_num_threads(),
        _arithmetics(device),
        compiler_missing(device) or "",
    )


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = _cores()
    name = f"{_cpu_model()}, {cores} core{'s' if cores > 1 else ''}"
    return f"GPU of {name}" if device.type == "mps" else name


def _cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    # ARM's kernels give no model name.
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.processor() or platform.machine()


def _arithmetics(device: torch.device) -> tuple[str, ...]:
    if device.type == "cuda":
        tensor_cores = torch.cuda.get_device_capability(device) >= (8, 0)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("float32", *["tf32"] * tensor_cores, *["bf16"] * bf16, "fp16")
    return ("float32", *["bf16"] * (device.type == "cpu" and cpu_computes_bf16()))


def matrix_peaks(device: torch.device, seconds: float) -> dict[str, float]:
    """Measure how fast square matrices are multiplied: best FLOP/s by arithmetic.

    Args:
        device: where.
        seconds: how long each size is tried in each arithmetic, at least once.
    """
    sides = GPU_SIDES if device.type == "cuda" else CPU_SIDES
    peaks = {}
    for arithmetic in _arithmetics(device):
        torch.backends.cuda.matmul.allow_tf32 = arithmetic == "tf32"
        rates = [_matmul_rate(n, DTYPES[arithmetic], device, seconds) for n in sides]
        peaks[arithmetic] = max(rates)
    return peaks


def _matmul_rate(side: int, dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    finished = synchroniser(device)
    # A GPU needs a few at once, or the launch of each counts too.
    at_once = 10 if device.type == "cuda" else 1
    torch.mm(a, b, out=out)
    finished()
    best, end = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(at_once):
            torch.mm(a, b, out=out)
        finished()
        best = max(best, at_once * 2 * side**3 / (time.perf_counter() - start))
    return best


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until the device has done all it was given."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None
