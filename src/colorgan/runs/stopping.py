"""Ctrl-C and SIGTERM, noted until training can write a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818 (it is no error)
    """Training was asked to stop."""


class StopSignal:
    """Notes Ctrl-C and SIGTERM within a `with` block; a second one ends the process at once.

    Args:
        patient: a second signal is only noted too. The launcher of a group passes on a signal
            that each process may have got from the terminal already.

    Attributes:
        received: the signal that came, 0 if none.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received = 0
        self._patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may set handlers.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and not self._patient:
            self.exit()
        self.received = self.received or number

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.received:
            raise Stopped

    def raise_stopped(self) -> NoReturn:
        """Raise `Stopped`; the signal may have come to another process of the group alone."""
        self.received = self.received or signal.SIGTERM
        raise Stopped

    def exit(self) -> NoReturn:
        """End as the signal asks: KeyboardInterrupt, or SystemExit with 143."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.received)
