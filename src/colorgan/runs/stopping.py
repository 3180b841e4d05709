"""Ctrl-C and SIGTERM as a wish that training fulfils when it can write a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Notes Ctrl-C and SIGTERM while its block runs; a second one ends the process at once.

    Args:
        patient: a second one is only noted too. In a group of processes it is the launcher's, which
            passes on what each of them may have had already.

    Attributes:
        received: the signal that came, 0 while there was none.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received = 0
        self._patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; elsewhere (a notebook, a test) they stay.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and not self._patient:
            self.stop()
        self.received = self.received or number

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.received:
            raise Stopped

    def stop(self) -> NoReturn:
        """End as the signal asks: KeyboardInterrupt, or SystemExit with 143."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.received)


class Stopped(Exception):  # noqa: N818 (it is no error)
    """A signal has come while something was done that can be done again."""
