"""How a training uses the machine: device, precision, torch.compile, processes, torch's flags."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from colorgan.config import RuntimeParams, TrainParams
from colorgan.errors import ColorganError, ParamsError

Precision = Literal["off", "fp16", "bf16"]
CompileMode = Literal["off", "default", "reduce-overhead"]

LONG_RUN = 5000
"""Iterations from which `train.compile: auto` compiles: it takes about a minute, which shorter runs
do not win back."""


def choose_device(name: str, asked: str = "params.yaml: runtime.device") -> torch.device:
    """Return the device called `name`; `auto` takes CUDA, then Apple's MPS, then the CPU.

    ParamsError if this machine does not have it; `asked` says there where the name comes from.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there = [*(device for device, is_there in present.items() if is_there), "cpu"]
    if name not in ("auto", *there):
        raise ParamsError(
            f"{asked} is {name!r}, which this machine does not have; "
            f"it should be auto or one of {', '.join(there)}"
        )
    return torch.device(there[0] if name == "auto" else name)


def choose_devices(wanted: str | int, device: torch.device) -> int:
    """Return how many processes train on this machine; `auto` takes all GPUs, and one CPU.

    ParamsError if more are asked for than there are GPUs or CPU cores.
    """
    there = {"cuda": torch.cuda.device_count(), "cpu": os.cpu_count() or 1}.get(device.type, 1)
    if wanted == "auto":
        return there if device.type == "cuda" else 1
    if int(wanted) > there:
        raise ParamsError(
            f"params.yaml: runtime.devices is {wanted}; it should be auto, or on this machine "
            f"({device.type}) at most {there}"
        )
    return int(wanted)


def choose_precision(amp: str, device: torch.device) -> Precision:
    """Return the precision of autocast; `auto` takes what the device is fast at.

    That is bf16 on a GPU or CPU that computes in it, fp16 on an older GPU, off elsewhere.
    ParamsError if fp16 is asked for on a device that does not train in it.
    """
    if amp == "fp16" and device.type != "cuda":
        raise ParamsError(
            f"params.yaml: train.amp is 'fp16', which needs a CUDA device (this one is "
            f"{device.type}); it should be auto, bf16 or off"
        )
    if amp in ("off", "fp16", "bf16"):
        return amp  # type: ignore[return-value]
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_computes_bf16() else "off"


def cpu_computes_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; in software it would be slower."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_compile(mode: str, device: torch.device, iterations: int) -> CompileMode:
    """Return the mode of torch.compile; `auto` is `default` on CUDA for long runs, else `off`.

    On a CPU compiled steps were measured to be 5% to 10% slower: their time goes to convolutions,
    which compiling leaves as they are.
    """
    if mode != "auto":
        return mode  # type: ignore[return-value]
    pays = device.type == "cuda" and iterations >= LONG_RUN
    return "default" if pays and importlib.util.find_spec("triton") else "off"


@contextmanager
def compile_errors(mode: CompileMode) -> Iterator[None]:
    """Say in one sentence that torch.compile failed, as without a C++ compiler or triton."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise ColorganError(
            f"train.compile is {mode}, and torch.compile failed on this machine ({reason}); set it "
            "to off in params.yaml"
        ) from error


def device_name(device: torch.device) -> str:
    """Return the device's product name, for a CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{platform.processor() or platform.machine()} ({device.type}{threads})"


@dataclass(frozen=True)
class Group:
    """Rank and world size of this process, as torchrun has them; alone, a group of one.

    Rank 0 records and writes; `local_rank` is the number of the GPU.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @classmethod
    def of_environment(cls) -> Group:
        """Return what torchrun says in the environment; a group of one without it."""
        rank, local_rank = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK"))
        return cls(rank, local_rank, int(os.environ.get("WORLD_SIZE", 1)))


@dataclass(frozen=True)
class Runtime:
    """What `auto` is resolved to on this machine; the precision `off` is float32."""

    device: torch.device
    precision: Precision
    compile: CompileMode = "off"
    group: Group = Group()

    @classmethod
    def decide(cls, train: TrainParams, machine: RuntimeParams, iterations: int = 0) -> Runtime:
        """Resolve every `auto` for a training of so many iterations, and set torch's flags."""
        device, group = choose_device(machine.device), Group.of_environment()
        if device.type == "cuda":
            if group.local_rank >= torch.cuda.device_count():
                raise ParamsError(
                    f"this machine has {torch.cuda.device_count()} GPU(s), one for each process: "
                    "torchrun's --nproc-per-node should be at most that"
                )
            device = torch.device("cuda", group.local_rank)
            torch.cuda.set_device(device)
        set_flags(train)
        keep_freed_memory()
        precision = choose_precision(train.amp, device)
        return cls(device, precision, choose_compile(train.compile, device, iterations), group)

    def autocast(self) -> torch.autocast:
        """Return a new autocast context for forward passes; it does nothing in float32."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.precision != "off")

    def tags(self) -> dict[str, str]:
        """Return what was decided, as tags of the MLflow run."""
        return {
            "device": self.device.type,
            "device_name": device_name(self.device),
            "devices": str(self.group.world_size),
            "precision": self.precision,
            "compile": self.compile,
        }


def set_flags(train: TrainParams) -> None:
    """Set the flags of cuDNN and the matrix units.

    With both flags of cuDNN on, it times its algorithms and chooses among the deterministic ones.
    """
    torch.backends.cudnn.benchmark = train.cudnn_benchmark
    torch.backends.cudnn.deterministic = train.cudnn_deterministic
    torch.backends.cudnn.allow_tf32 = train.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = train.allow_tf32
    # Needed for deterministic matrix products on CUDA.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != train.cudnn_deterministic:
        # This imports torch's compiler, which takes a second.
        torch.use_deterministic_algorithms(train.cudnn_deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def keep_freed_memory() -> None:
    """Let glibc keep large freed blocks for the next batch.

    It would return them to the system, and new ones come as fresh pages: a batch of 32 at 256 px
    took 7 times as long to read and convert.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        # From malloc.h; 32 MB is the most that glibc takes for the first.
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 1 << 25)
        mallopt(trim_threshold, 1 << 30)
