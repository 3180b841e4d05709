"""Errors that the user can fix. The command line shows their one sentence, without a traceback."""

from __future__ import annotations

import re
import sys

REDACTED = {
    # The ? or # may belong to a password, and in the path of a file an @ is no login.
    r"(?<!sqlite)://[^\s'\"<>]*[?#][^\s'\"<>]*@[^\s'\"<>]*": "://***",
    r"(?<!sqlite)://[^\s'\"<>]*@": "://***@",
    # In the place of a port.
    r"://[^\s'\"<>/:@\[]*:(?!\d{1,5}\b)[^\s'\"<>]+": "://***",
    r"\?[\w.%-]+=[^\s'\"<>)]+": "?***",
    r"(?i)(authorization\W+\w+ )\S+": r"\1***",
    r"(?i)((?:password|passwd|pwd|token|secret|_key)=)[^\s&;,'\"<>]+": r"\1***",
}
"""What may be a secret in a message (a pattern): logins, queries, passwords and headers."""


class ColorganError(Exception):
    """An error that the user can fix: its text names the file or parameter and what is right.

    `exit_code` is the exit status of the command line.
    """

    exit_code = 1


class ParamsError(ColorganError):
    """A parameter in params.yaml is unknown, missing, mistyped or out of range."""

    exit_code = 2


def describe(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(said.split()) or type(error).__name__


def redact(text: str) -> str:
    """Return a text with what may be a secret in it shown as ***."""
    for pattern, shown in REDACTED.items():
        text = re.sub(pattern, shown, text)
    return text


def say(sentence: str) -> None:
    """Print a warning for the user to stderr; the work continues."""
    print(redact(sentence), file=sys.stderr, flush=True)
