"""What a person sees while a network trains: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ProgressName = Literal["auto", "bar", "lines", "none"]
SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress(Protocol):
    """Shows how far training has come; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def update(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Show the losses of the last iterations; counts start at 1."""


def training_progress(
    name: ProgressName, title: str, iterations: int, epochs: int, batch_size: int
) -> TrainingProgress:
    """Return the display called `name`; `auto` is a bar in a terminal and lines elsewhere."""
    if name == "auto":
        name = "bar" if sys.stderr.isatty() else "lines"
    if name == "bar":
        return _Bar(title, iterations, epochs, batch_size)
    return _Lines(title, iterations, epochs, batch_size, silent=name == "none")


class _Speed:
    """Images a second since the first update; the first iterations, which warm up, left out."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._first: tuple[int, float] | None = None

    def __call__(self, iteration: int) -> float:
        """Return images/s up to `iteration`, 0 where it is not known yet."""
        now = time.monotonic()
        if self._first is None:
            self._first = iteration, now
            return 0.0
        first, then = self._first
        return (iteration - first) * self._batch_size / max(now - then, 1e-9)


class _Bar:
    def __init__(self, title: str, iterations: int, epochs: int, batch_size: int) -> None:
        self._epochs = epochs
        self._speed = _Speed(batch_size)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TextColumn("[cyan]{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(title, total=iterations, losses="", speed="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Move the bar and show the losses beside it."""
        self._progress.update(
            self._task,
            completed=iteration,
            losses=f"epoch {epoch}/{self._epochs} {_shown(losses)}",
            speed=f"{self._speed(iteration):.0f} images/s",
        )


class _Lines:
    """A line now and then: logs of a queue or a server stay readable."""

    def __init__(
        self, title: str, iterations: int, epochs: int, batch_size: int, *, silent: bool
    ) -> None:
        self._title = title
        self._iterations = iterations
        self._epochs = epochs
        self._batch_size = batch_size
        self._silent = silent
        self._speed = _Speed(batch_size)
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Print a line if the last one is long enough ago, or this is the end."""
        speed = self._speed(iteration)
        due = time.monotonic() >= self._next or iteration == self._iterations
        if self._silent or not due:
            return
        self._next = time.monotonic() + SECONDS_BETWEEN_LINES
        left = ""
        if speed:
            seconds = (self._iterations - iteration) * self._batch_size / speed
            left = f", {speed:.0f} images/s, {seconds / 60:.1f} min left"
        print(
            f"{self._title}: epoch {epoch}/{self._epochs}, iteration {iteration}/"
            f"{self._iterations}, {_shown(losses)}{left}",
            flush=True,
        )


def _shown(losses: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in losses.items())
