"""What recovery finds: a line or more for the person, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a kill has left: how it is said, and the call that mends it, if there is one.

    `for_the_person` marks what only a person can mend.
    """

    text: str
    mend: Callable[[], object] | None = None
    for_the_person: bool = False
