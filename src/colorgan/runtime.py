"""The machine: device, mixed precision, cuDNN's flags, seeds."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from colorgan.errors import ParamsError
from colorgan.params import RuntimeParams, TrainParams

Precision = Literal["off", "fp16", "bf16"]


def choose_device(name: str) -> torch.device:
    """Return the device called `name`; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ParamsError: the device asked for is not on this machine.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(device for device, there in present.items() if there))
    if not present[name]:
        there = ", ".join(device for device, is_there in present.items() if is_there)
        raise ParamsError(
            f"params.yaml: runtime.device is {name!r}, which this machine does not have; "
            f"it should be auto or one of {there}"
        )
    return torch.device(name)


def choose_precision(amp: str, device: torch.device) -> Precision:
    """Return the precision of autocast: the one asked for, or what the device is fast at.

    `auto` is bf16 on a GPU or CPU that computes in it, fp16 on an older GPU, off elsewhere.

    Raises:
        ParamsError: fp16 was asked for on a device that does not train in it.
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
    """Say whether this CPU multiplies bfloat16 in hardware; in software it would be slower."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def device_name(device: torch.device) -> str:
    """Return the name of the device as a person would say it, for the record of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{platform.processor() or platform.machine()} ({device.type}{threads})"


@dataclass(frozen=True)
class Runtime:
    """What `auto` came to, decided once for a run.

    Attributes:
        device: where the networks run.
        precision: what autocast computes in; `off` is float32.
        pin_memory: whether batches are read into page-locked memory.
    """

    device: torch.device
    precision: Precision
    pin_memory: bool

    @classmethod
    def decide(cls, train: TrainParams, runtime: RuntimeParams) -> Runtime:
        """Decide every `auto`, seed the random numbers and set the flags of torch."""
        device = choose_device(runtime.device)
        pin = device.type == "cuda" if runtime.pin_memory == "auto" else runtime.pin_memory
        set_flags(train)
        keep_freed_memory()
        torch.manual_seed(train.seed)
        return cls(device, choose_precision(train.amp, device), pin)

    def autocast(self) -> torch.autocast:
        """Return a new autocast context for the forward passes; it does nothing when off."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.precision != "off")

    def described(self) -> dict[str, str]:
        """Return the decisions by name, for the record of a run."""
        return {
            "device": self.device.type,
            "device_name": device_name(self.device),
            "precision": self.precision,
            "pin_memory": str(self.pin_memory).lower(),
        }


def keep_freed_memory() -> None:
    """Let the C library keep large freed blocks for the next batch, where it has a switch for it.

    glibc returns blocks of some megabytes to the system at once, and the next ones come as fresh
    pages: a batch of 32 at 256 px took 7 times as long to read and convert.
    """
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


# From malloc.h; 32 MB is the most that glibc takes for the first.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def set_flags(train: TrainParams) -> None:
    """Set cuDNN's and the matrix units' flags as the parameters say.

    `cudnn_benchmark` and `cudnn_deterministic` pull against each other; both are honoured: with
    both on, cuDNN times its algorithms but chooses among the deterministic ones alone.
    """
    torch.backends.cudnn.benchmark = train.cudnn_benchmark
    torch.backends.cudnn.deterministic = train.cudnn_deterministic
    torch.backends.cudnn.allow_tf32 = train.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = train.allow_tf32
    # Denormals slow a CPU down a hundredfold, and no weight of a network needs them.
    torch.set_flush_denormal(True)
