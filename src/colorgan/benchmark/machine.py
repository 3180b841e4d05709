"""The machine at hand: its name, what it computes in, and how fast it multiplies matrices."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from colorgan.runs.runtime import cpu_computes_bf16

CPU_SIDES = (1024, 2048, 3072)
GPU_SIDES = (4096, 8192, 16384)
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


Work = Callable[[], object]


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
    """Measure how fast the device multiplies at best: FLOP/s by arithmetic.

    Square matrices are tried, and a large convolution, which some CPUs' libraries are better at.

    Args:
        device: where.
        seconds: how long each is tried in each arithmetic, at least once.
    """
    sides = GPU_SIDES if device.type == "cuda" else CPU_SIDES
    peaks = {}
    for arithmetic in _arithmetics(device):
        torch.backends.cuda.matmul.allow_tf32 = arithmetic == "tf32"
        torch.backends.cudnn.allow_tf32 = arithmetic == "tf32"
        dtype = DTYPES[arithmetic]
        works = [*(_product(n, dtype, device) for n in sides), _convolution(dtype, device)]
        peaks[arithmetic] = max(_rate(*work, device, seconds) for work in works)
    return peaks


def _product(side: int, dtype: torch.dtype, device: torch.device) -> tuple[Work, int]:
    """Return a multiplication of square matrices, and its FLOPs."""
    a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out), 2 * side**3


def _convolution(dtype: torch.dtype, device: torch.device) -> tuple[Work, int]:
    """Return a convolution 3x3 of 16 maps of 32x32 pixels and 256 channels, and its FLOPs."""
    x = torch.randn(16, 256, 32, 32, dtype=dtype, device=device)
    weight = torch.randn(256, 256, 3, 3, dtype=dtype, device=device)
    x, weight = (each.contiguous(memory_format=torch.channels_last) for each in (x, weight))
    # Taps on the border's padding are counted, as those of the networks are.
    return lambda: F.conv2d(x, weight, padding=1), 2 * 16 * 32 * 32 * 256 * 256 * 9


def _rate(work: Work, flops: int, device: torch.device, seconds: float) -> float:
    finished = synchroniser(device)
    # A GPU needs a few at once, or the launch of each counts too.
    at_once = 10 if device.type == "cuda" else 1
    with torch.inference_mode():
        work()
        finished()
        best, end = 0.0, time.perf_counter() + seconds
        while not best or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(at_once):
                work()
            finished()
            best = max(best, at_once * flops / (time.perf_counter() - start))
    return best


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until the device has done all it was given."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


def compiler_missing(device: torch.device) -> str | None:
    """Say what torch.compile lacks on this machine, None if nothing."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton"
    names = (os.environ.get("CXX"), "g++", "clang++", "cl")
    if any(name and shutil.which(name) for name in names):
        return None
    return "a C++ compiler (g++ or clang++)"
