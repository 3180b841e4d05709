"""The progress of a training: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Literal, Self

from rich.progress import BarColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows how far training has come; a context manager.

    The mode `auto` is `bar` in a terminal and `lines` elsewhere; `none` prints nothing.
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
        self._bar = Progress(BarColumn(), TextColumn("{task.description}"), disable=mode != "bar")
        self._task = self._bar.add_task(title, total=iterations)

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
        now = time.monotonic()
        # The warm-up before the first update does not count.
        first, then = self._first = self._first or (iteration, now)
        shown = [f"epoch {epoch}/{self._epochs}", f"iteration {iteration}/{self.iterations}"]
        shown.append(" ".join(f"{name} {value:.3f}" for name, value in losses.items()))
        if iteration > first:
            speed = (iteration - first) * self._batch_size / (now - then)
            minutes = (self.iterations - iteration) * self._batch_size / speed / 60
            shown += [f"{speed:.0f} images/s", f"{minutes:.1f} min left"]
        line = f"{self.title}: {', '.join(shown)}"
        self._bar.update(self._task, completed=iteration, description=line)
        last = iteration == self.iterations
        if self._mode == "lines" and (last or now >= self._next_line):
            self._next_line = now + SECONDS_BETWEEN_LINES
            print(line, flush=True)
