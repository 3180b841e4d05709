"""Measuring every variant in turn with the base, so that a noisy machine treats both alike."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from colorgan.benchmark.machine import Machine
from colorgan.benchmark.variants import BASE, Setting, Variant
from colorgan.errors import ColorganError

CHILD = (sys.executable, "-m", "colorgan.benchmark.child")
VERSION = 1
"""Of the files that this writes."""
PEAK_SECONDS = 0.5
"""How long matrices of each size are multiplied at most, before and again after the variants."""


class FailedError(ColorganError):
    """A process could not do what it was told; the sentence says why."""


class Child:
    """A process that takes steps, seen from the outside; a context manager that ends it."""

    def __init__(self, command: Sequence[str], scratch: Path, name: str) -> None:
        self._log = scratch / f"{name}.log"
        # Each compiles for itself, and anew: what the first steps cost is in the table.
        caches = {"TORCHINDUCTOR_CACHE_DIR": str(scratch / f"compiled-{name}")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=os.environ | caches,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for the answer; FailedError if there is none, or an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise FailedError(
                f"its process ended with code {self._process.wait()}{self._last_words()}"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f": {said[-1]}" if said else ""


def measure_all(
    setting: Setting,
    machine: Machine,
    variants: Sequence[Variant],
    seconds: float,
    rounds: int,
    show: Callable[[str], None],
    skipped: Collection[str] = (),
) -> dict[str, Any]:
    """Measure the base and all variants; return what the JSON file holds.

    Args:
        setting: networks and batches.
        machine: the one at hand.
        variants: rows of the table, besides the base.
        seconds: that each variant is timed in all.
        rounds: in how many turns with the base.
        show: is told what is being measured.
        skipped: names of variants that a quick look leaves out.

    Raises:
        ColorganError: the base itself cannot be measured here.
    """
    from colorgan.benchmark.workload import write_photos

    with tempfile.TemporaryDirectory(prefix="colorgan-benchmark-") as scratch:
        folder = Path(scratch) / setting.space
        write_photos(setting, folder)
        order = {"setting": asdict(setting), "device": machine.kind, "folder": str(folder)}
        peak_seconds = min(PEAK_SECONDS, seconds / 10)
        show("the matrix peak")
        with Child(CHILD, Path(scratch), "peaks") as child:
            peaks = [child.ask(device=machine.kind, peaks=peak_seconds)]
        with _started(BASE, order, Path(scratch)) as (base, warmup):
            turns: list[tuple[Turns, Turns]] = []
            rows = []
            for variant in variants:
                reason = "left out by --quick" if variant.name in skipped else ""
                if lacking := variant.missing(machine):
                    reason = f"not on this device: {lacking}"
                if reason:
                    rows.append({**_named(variant), "missing": reason})
                    continue
                show(variant.label)
                row, turn = _in_turn(variant, base, order, Path(scratch), seconds / rounds, rounds)
                rows.append(row)
                turns += turn
            own = [ours for ours, _ in turns] or [Turns(base.ask(measure=seconds))]
            first = {
                **_named(BASE),
                **figures(own, setting, warmup, base.ask(memory=True)["bytes"]),
                "ratio": 1.0,
            }
            flops = base.ask(flops=True)["flops"]
            # Once more, so that the best of them is no busy moment's; last, for it takes memory.
            peaks.append(base.ask(device=machine.kind, peaks=peak_seconds))
    best = {name: max(peak[name] for peak in peaks) for name in peaks[0]}
    return {
        "version": VERSION,
        "machine": asdict(machine),
        "setting": asdict(setting),
        "seconds": seconds,
        "rounds": rounds,
        "flops": flops,
        "peaks": best,
        "variants": [_with_share_of_peak(row, flops, best) for row in (first, *rows)],
    }


class Turns:
    """What a process said of one turn: seconds of each step and of its wait for data."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.steps: list[float] = answer["steps"]
        self.waits: list[float] = answer["waits"]
        self.median = statistics.median(self.steps)


@contextmanager
def _started(
    variant: Variant, order: dict[str, Any], scratch: Path
) -> Iterator[tuple[Child, float]]:
    with Child(CHILD, scratch, variant.name) as child:
        yield child, child.ask(**order, variant=variant.name)["warmup"]


def _in_turn(
    variant: Variant,
    base: Child,
    order: dict[str, Any],
    scratch: Path,
    seconds: float,
    rounds: int,
) -> tuple[dict[str, Any], list[tuple[Turns, Turns]]]:
    """Measure a variant in turn with the base: its row, and the turns of both."""
    turns = []
    try:
        with _started(variant, order, scratch) as (child, warmup):
            for i in range(rounds):
                # Each comes first in half of the rounds: a machine that slows down favours none.
                pair = [(child, 1), (base, 0)] if i % 2 else [(base, 0), (child, 1)]
                both = {which: Turns(process.ask(measure=seconds)) for process, which in pair}
                turns.append((both[0], both[1]))
            peak = child.ask(memory=True)["bytes"]
    except FailedError as error:
        return {**_named(variant), "missing": f"failed: {error}"}, []
    setting = Setting(**order["setting"])
    ratio = statistics.median(ours.median / theirs.median for ours, theirs in turns)
    own = figures([theirs for _, theirs in turns], setting, warmup, peak)
    return {**_named(variant), **own, "ratio": ratio}, turns


def _named(variant: Variant) -> dict[str, Any]:
    return {"name": variant.name, "label": variant.label, "arithmetic": variant.arithmetic}


def figures(
    turns: Sequence[Turns], setting: Setting, warmup: float, peak: int | None
) -> dict[str, Any]:
    """Return the figures of a row from all turns of a process."""
    steps = [step for turn in turns for step in turn.steps]
    low, median, high = statistics.quantiles(steps, n=4, method="inclusive")
    return {
        "images_per_second": setting.batch_size / median,
        "ms": median * 1e3,
        "ms_quartiles": [low * 1e3, high * 1e3],
        "steps": len(steps),
        "waiting": sum(sum(turn.waits) for turn in turns) / sum(steps),
        "peak_bytes": peak,
        "warmup_seconds": warmup,
    }


def _with_share_of_peak(row: dict[str, Any], flops: int, peaks: dict[str, float]) -> dict[str, Any]:
    """Add which part of the peak of its arithmetic a variant reaches."""
    if "missing" in row:
        return row
    return {**row, "share_of_peak": flops / (row["ms"] / 1e3) / peaks[row["arithmetic"]]}
