"""Errors that a user can mend: one sentence each, shown without a traceback."""

from __future__ import annotations


class ColorganError(Exception):
    """Something the user can mend; its text names the file or parameter and what would be right.

    `exit_code` is what the command line ends with.
    """

    exit_code = 1


class ParamsError(ColorganError):
    """A parameter in params.yaml is unknown, missing, mistyped or out of range."""

    exit_code = 2
