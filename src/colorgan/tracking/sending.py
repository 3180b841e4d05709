"""Threads beside a training: one sends what waits, now and then, one samples the machine.

Both are daemons: a store that does not answer keeps neither a training nor its end waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

SEND_EVERY = 5.0
"""Seconds between two rounds of sending: one costs 10 to 25 ms, however many metrics are in it."""
PATIENCE = 25.0
"""Seconds without anything arriving after which a store is not waited for any longer."""


class Sender:
    """Calls `send` in rounds, in a thread of its own.

    Attributes:
        failing: whether the last round failed.
        patient: whether what is being sent may take long, such as a model.
    """

    def __init__(self, send: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Begin.

        Args:
            send: sends what waits; calls `arrived` for each part of it.
            failed: is told what a round failed with.
        """
        self.failing = False
        self.patient = False
        self._send = send
        self._failed = failed
        self._end: Callable[[], None] | None = None
        self._arrived_at = time.monotonic()
        self._changed = threading.Condition()
        self._asked = self._begun = self._done = 0
        self._thread = threading.Thread(target=self._run, name="colorgan-sender", daemon=True)
        self._thread.start()

    def arrived(self) -> None:
        """Note that something has arrived."""
        self._arrived_at = time.monotonic()

    def flush(self) -> None:
        """Wait until a round that begins now has been tried; not where the last one failed."""
        if self.failing:
            return
        self.arrived()
        with self._changed:
            # The round that is under way may be past what was added last.
            wanted = self._asked = self._begun + 1
            self._changed.notify_all()
            while self._done < wanted and (self.patient or not self._silent()):
                self._changed.wait(0.1)

    def close(self, end: Callable[[], None]) -> None:
        """Send what is left, then call `end`; wait for it as long as things arrive."""
        self.arrived()
        with self._changed:
            self._end = end
            self._changed.notify_all()
        while self._thread.is_alive() and (self.patient or not self._silent()):
            self._thread.join(0.1)

    def _silent(self) -> bool:
        return time.monotonic() - self._arrived_at > PATIENCE

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._end or self._asked > self._begun, SEND_EVERY)
                self._begun += 1
                end = self._end
            self.failing = not self._try(self._send)
            with self._changed:
                self._done += 1
                self._changed.notify_all()
            if end:
                # Also where the round has failed: perhaps only the place of pictures is full.
                self._try(end)
                return

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:
            # MLflow, its HTTP client, its database and a store of artifacts each have their own.
            self._failed(error)
            return False
        return True


class Sampler:
    """Takes samples in a thread of its own and hands them on with their number."""

    def __init__(
        self,
        sample: Callable[[], Mapping[str, float]],
        keep: Callable[[Mapping[str, float], int], None],
        every: float,
        first: int,
    ) -> None:
        """Begin; `first` is the number of the first sample, `every` the seconds between two."""
        self._sample = sample
        self._keep = keep
        self._every = every
        self._number = first
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="colorgan-sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take one sample more, so that a short run has one too, and stop."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(self._every)
            try:
                self._keep(self._sample(), self._number)
            except Exception:
                # A driver that fails is not worth a training.
                return
            self._number += 1
