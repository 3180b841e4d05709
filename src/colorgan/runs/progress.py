"""The progress of a training: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Literal, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows how far training has come; a context manager.

    Args:
        mode: `auto` is `bar` in a terminal and `lines` elsewhere; `none` prints nothing.
        title: what is trained, such as `train lab`.
        iterations, epochs, batch_size: those of the whole training.
    """

    def __init__(
        self,
        mode: Literal["auto", "bar", "lines", "none"],
        title: str,
        iterations: int,
        epochs: int,
        batch_size: int,
    ) -> None:
        if mode == "auto":
            mode = "bar" if sys.stderr.isatty() else "lines"
        self._mode, self.title = mode, title
        self.iterations, self._epochs, self._batch_size = iterations, epochs, batch_size
        self._first: tuple[int, float] | None = None
        self._next_line = 0.0
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[losses]}"),
                   TextColumn("[cyan]{task.fields[speed]}"), TimeRemainingColumn())  # fmt: skip
        self._bar = Progress(TextColumn("{task.description}"), *columns, disable=mode != "bar")
        self._task = self._bar.add_task(title, total=iterations, losses="", speed="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, what: str) -> None:
        """Print a line about the training, unless the mode is `none`."""
        if self._mode != "none":
            print(f"{self.title}: {what}", flush=True)

    def update(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Show the mean losses of the last iterations; counts start at 1."""
        speed = self._images_per_second(iteration)
        shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
        if self._mode == "bar":
            shown = f"epoch {epoch}/{self._epochs} {shown}"
            self._bar.update(
                self._task, completed=iteration, losses=shown, speed=f"{speed:.0f} images/s"
            )
        now, last = time.monotonic(), iteration == self.iterations
        if self._mode == "lines" and (last or now >= self._next_line):
            self._next_line = now + SECONDS_BETWEEN_LINES
            left = ""
            if speed:
                minutes = (self.iterations - iteration) * self._batch_size / speed / 60
                left = f", {speed:.0f} images/s, {minutes:.1f} min left"
            print(
                f"{self.title}: epoch {epoch}/{self._epochs}, iteration {iteration}/"
                f"{self.iterations}, {shown}{left}",
                flush=True,
            )

    def _images_per_second(self, iteration: int) -> float:
        """Return the speed since the first update; 0 there. The warm-up before does not count."""
        now = time.monotonic()
        if self._first is None:
            self._first = iteration, now
        first, then = self._first
        return (iteration - first) * self._batch_size / max(now - then, 1e-9)
