"""Errors that the user can fix. The command line shows their one sentence, without a traceback."""

from __future__ import annotations

import sys


class ColorganError(Exception):
    """An error that the user can fix: its text names the file or parameter and what is right.

    `exit_code` is the exit status of the command line.
    """

    exit_code = 1


class ParamsError(ColorganError):
    """A parameter in params.yaml is unknown, missing, mistyped or out of range."""

    exit_code = 2


def say(sentence: str) -> None:
    """Print a warning for the user to stderr; the work continues."""
    print(sentence, file=sys.stderr, flush=True)
