"""When a device did what: wall time on the CPU, events of its own on a GPU."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

import torch

Mark = TypeVar("Mark")


class Clock(ABC, Generic[Mark]):
    """Marks moments in a device's work; they can be compared after `finish`."""

    @abstractmethod
    def mark(self) -> Mark:
        """Mark the moment when all that the device was given so far is done."""

    @abstractmethod
    def seconds(self, earlier: Mark, later: Mark) -> float:
        """Return the seconds between two marks."""

    @abstractmethod
    def finish(self) -> None:
        """Wait until the device has done all that it was given."""

    @abstractmethod
    def peak_bytes(self) -> int | None:
        """Return the most memory that was in use since the clock was made; None if unknown."""


class CpuClock(Clock[float]):
    """The CPU works at once; memory is the growth of this process, without its workers."""

    def __init__(self) -> None:
        self._before = _status("VmRSS")

    def mark(self) -> float:
        """Read the wall clock."""
        return time.perf_counter()

    def seconds(self, earlier: float, later: float) -> float:
        """Subtract."""
        return later - earlier

    def finish(self) -> None:
        """Do nothing: it has."""

    def peak_bytes(self) -> int | None:
        """Return by how much the process grew, at its largest."""
        # Not getrusage: there, a process starts with the peak of the one that started it.
        peak = _status("VmHWM")
        return None if peak is None or self._before is None else peak - self._before


class CudaClock(Clock[torch.cuda.Event]):
    """The host runs ahead of a GPU, which notes the time itself as it comes by a mark."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        torch.cuda.reset_peak_memory_stats(device)

    def mark(self) -> torch.cuda.Event:
        """Put an event into the GPU's queue."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        """Read both events."""
        return float(earlier.elapsed_time(later)) / 1e3

    def finish(self) -> None:
        """Wait for the GPU."""
        torch.cuda.synchronize(self._device)

    def peak_bytes(self) -> int | None:
        """Return the peak of PyTorch's tensors on the GPU."""
        return int(torch.cuda.max_memory_allocated(self._device))


class MpsClock(Clock[float]):
    """Apple's GPU: waits at each mark; memory is all that the driver gave, which never shrinks."""

    def mark(self) -> float:
        """Wait, and read the wall clock."""
        self.finish()
        return time.perf_counter()

    def seconds(self, earlier: float, later: float) -> float:
        """Subtract."""
        return later - earlier

    def finish(self) -> None:
        """Wait for the GPU."""
        torch.mps.synchronize()

    def peak_bytes(self) -> int | None:
        """Return what the driver gave."""
        return int(torch.mps.driver_allocated_memory())


def clock_of(device: torch.device) -> Clock[float] | Clock[torch.cuda.Event]:
    """Return the clock of a device, which also starts to watch its memory."""
    if device.type == "cuda":
        return CudaClock(device)
    return MpsClock() if device.type == "mps" else CpuClock()


def _status(field: str) -> int | None:
    """Return a field of Linux's status of this process in bytes; None elsewhere."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    kibibytes = next((x.split()[1] for x in text.splitlines() if x.startswith(f"{field}:")), None)
    return None if kibibytes is None else int(kibibytes) * 1024
