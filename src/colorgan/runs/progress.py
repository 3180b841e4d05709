"""The progress of a training: a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Prints how far training has come; if `quiet`, nothing."""

    def __init__(
        self, title: str, iterations: int, epochs: int, batch_size: int, *, quiet: bool = False
    ) -> None:
        self.title, self.iterations, self._quiet = title, iterations, quiet
        self._epochs, self._batch_size = epochs, batch_size
        self._first: tuple[int, float] | None = None
        self._next_line = 0.0

    def say(self, what: str) -> None:
        """Print a line about the training."""
        if not self._quiet:
            print(f"{self.title}: {what}", flush=True)

    def update(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Show the mean losses of the last iterations; counts start at 1."""
        now = time.monotonic()
        # The warm-up before the first update does not count.
        first, then = self._first = self._first or (iteration, now)
        if now < self._next_line and iteration < self.iterations:
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        shown = [f"epoch {epoch}/{self._epochs}", f"iteration {iteration}/{self.iterations}"]
        shown.append(" ".join(f"{name} {value:.3f}" for name, value in losses.items()))
        if iteration > first:
            speed = (iteration - first) * self._batch_size / (now - then)
            minutes = (self.iterations - iteration) * self._batch_size / speed / 60
            shown += [f"{speed:.0f} images/s", f"{minutes:.1f} min left"]
        self.say(", ".join(shown))
