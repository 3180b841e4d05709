"""The process that takes the steps of one variant: `python -m colorgan.benchmark.child`.

A process of its own for each variant keeps flags, memory and compiled code apart. It is told what
to do by lines of JSON on its standard input and answers by lines of JSON on its standard output::

    {"setting": ..., "variant": NAME, "device": ..., "folder": ...}  -> {"warmup": seconds}
    {"measure": SECONDS}  -> {"steps": [seconds, ...], "waits": [seconds, ...]}
    {"flops": true}       -> {"flops": of one step}
    {"memory": true}      -> {"bytes": at the peak, or null}

and {"error": what} to whatever went wrong. It ends at the end of its input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch

from colorgan.benchmark.clock import Clock, clock_of
from colorgan.benchmark.flops import count_flops
from colorgan.benchmark.machine import describe, matrix_peaks

LOG_EVERY = 10
"""Steps between two looks at the losses, as in training: a GPU is waited for there."""
WARMUP = {"cuda": 5}
"""Steps before the first that is timed: cuDNN's trials, compilation, CUDA graphs, first memory."""
WARMUP_ELSEWHERE = 2
AT_LEAST = 2
"""Steps timed however long they take."""


class Steps(Protocol):
    """What is measured: batches without end, and a step on each."""

    device: torch.device

    def batches(self) -> Iterator[Any]:
        """Yield batches as they come."""

    def step(self, batch: Any) -> torch.Tensor:
        """Take a step; return the losses."""


class Measured:
    """Takes steps and times them."""

    def __init__(self, make: Callable[[], Steps], device: torch.device) -> None:
        self._clock: Clock[Any] = clock_of(device)
        start = time.perf_counter()
        self._work = make()
        self._batches = self._work.batches()
        for _ in range(WARMUP.get(device.type, WARMUP_ELSEWHERE)):
            self._work.step(next(self._batches))
        self._clock.finish()
        self.warmup = time.perf_counter() - start

    def measure(self, seconds: float) -> dict[str, list[float]]:
        """Take steps for so long; return the time of each and, of that, the wait for its batch.

        The wait is the time between the end of a step and the arrival of the next batch, as the
        device sees it: a GPU that still works on earlier steps meanwhile does not wait.
        """
        clock = self._clock
        if self._work.device.type != "cpu":
            # What workers read ahead while this process had to wait is no speed of theirs.
            drained = time.perf_counter() + seconds / 5
            while time.perf_counter() < drained:
                self._work.step(next(self._batches)).tolist()
        clock.finish()
        marks: list[tuple[Any, Any]] = [(None, clock.mark())]
        end = time.perf_counter() + seconds
        while len(marks) <= AT_LEAST or time.perf_counter() < end:
            batch = next(self._batches)
            arrived = clock.mark()
            losses = self._work.step(batch)
            marks.append((arrived, clock.mark()))
            if len(marks) % LOG_EVERY == 0:
                losses.tolist()
        clock.finish()
        pairs = list(pairwise(marks))
        return {
            "steps": [clock.seconds(before, done) for (_, before), (_, done) in pairs],
            "waits": [clock.seconds(before, arrived) for (_, before), (arrived, _) in pairs],
        }

    def flops(self) -> dict[str, int]:
        """Count the arithmetic of one step."""
        batch = next(self._batches)
        return {"flops": count_flops(lambda: self._work.step(batch))}

    def memory(self) -> dict[str, int | None]:
        """Return the peak of memory so far."""
        return {"bytes": self._clock.peak_bytes()}


def serve(start: Callable[[dict[str, Any]], tuple[Callable[[], Steps], torch.device]]) -> None:
    """Answer the lines of the standard input; `start` makes the work of the first."""
    answers = _take_standard_output()
    measured: Measured | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "peaks" in order:
                device = torch.device(order["device"])
                answer: dict[str, Any] = matrix_peaks(device, order["peaks"])
            elif measured is None:
                measured = Measured(*start(order))
                answer = {"warmup": measured.warmup}
            elif "measure" in order:
                answer = measured.measure(order["measure"])
            else:
                answer = measured.flops() if "flops" in order else measured.memory()
        # Whatever it is, it is the reason that stands in the table.
        except Exception as error:
            answer = {"error": _sentence(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _take_standard_output() -> TextIO:
    """Return the standard output and let what others print go to the standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _sentence(error: Exception) -> str:
    """Return the first line of an error that says something."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _variant(order: dict[str, Any]) -> tuple[Callable[[], Steps], torch.device]:
    from colorgan.benchmark.variants import Setting, variant
    from colorgan.benchmark.workload import Workload

    device = torch.device(order["device"])
    chosen = variant(order["variant"], describe(device))
    setting = Setting(**order["setting"])
    return lambda: Workload(setting, chosen, device, Path(order["folder"])), device


if __name__ == "__main__":
    serve(_variant)
