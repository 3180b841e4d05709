"""Ctrl-C and SIGTERM, noted until training can write a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn, Self


class StopSignal:
    """Notes Ctrl-C and SIGTERM within a `with` block; a second one ends the process at once.

    If `patient`, it ignores the second one: in a group of processes the launcher passes on the
    signal that the process has got already. `received` is the signal that came, 0 if none.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.received = 0
        self._patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Elsewhere Python allows no handler: a Ray worker trains in a thread.
        is_main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if is_main else ():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and not self._patient:
            self.exit()
        self.received = self.received or number

    def exit(self) -> NoReturn:
        """End as the signal asks: KeyboardInterrupt, or SystemExit with 143.

        A process of a group that got no signal itself ends as after SIGTERM.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + (self.received or signal.SIGTERM))
