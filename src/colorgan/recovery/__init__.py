"""The way back after a kill of DVC: what was left is found, said, and mended."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from colorgan.errors import ColorganError
from colorgan.recovery.at_work import dvc_kept_out
from colorgan.recovery.experiment import find_experiment
from colorgan.recovery.finding import Finding
from colorgan.recovery.git import Git
from colorgan.recovery.leftovers import (
    find_cut_off_tasks,
    find_git_locks,
    find_locks,
    find_orphans,
    find_temporary_copies,
)


def recover(
    *,
    yes: bool = False,
    say: Callable[[str], object] = print,
    ask: Callable[[str], bool] | None = None,
) -> int:
    """Say what a killed DVC has left in the project around the working directory, and mend it.

    Args:
        yes: mend without asking.
        say: takes each line.
        ask: asks a yes-or-no question; None where there is nobody to ask, so that nothing is
            mended unless `yes` says so.

    Returns:
        The exit code: 0 if nothing is left to mend, 1 if something is.

    Raises:
        ColorganError: no git repository with DVC here, DVC is at work, or something has changed
            while the person was asked.
    """
    root = _dvc_root()
    with dvc_kept_out(root):
        found, facts = _look(root)
    for finding in found:
        say(finding.text)
    left = int(any(finding.for_the_person for finding in found))
    if not any(finding.mend for finding in found):
        say("what is left is for you" if left else "nothing to mend")
        return left
    if not yes and (ask is None or not ask("Mend this?")):
        say("nothing was changed; `python -m colorgan recover --yes` mends it")
        return 1
    with dvc_kept_out(root):
        # An answer can take its time, and what mends stands on what was found.
        found, now = _look(root)
        if now != facts:
            raise ColorganError(
                "something has changed since it was looked at, so nothing was mended: run "
                "`python -m colorgan recover` again"
            )
        for finding in found:
            if finding.mend:
                finding.mend()
    say("mended: run the same command again, it goes on from the last checkpoint")
    return left


def _look(root: Path) -> tuple[list[Finding], list[str]]:
    """Return what was left, in the order to mend it, and the facts that mending stands on."""
    git = Git(root)
    found = [
        *find_orphans(root),
        *find_git_locks(git),
        *find_experiment(git),
        # Last, because what they tell of is mended by them.
        *find_locks(root),
        *find_temporary_copies(root),
        *find_cut_off_tasks(root),
    ]
    to_do = [finding.text for finding in found if finding.mend or finding.for_the_person]
    return found, [*to_do, git.head, git.branch, git.stash]


def somebody_to_ask() -> bool:
    """Whether a person sits at both ends of the terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _dvc_root() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    raise ColorganError(
        f"{here} is not in a git repository with DVC: run `colorgan recover` in the project's "
        "folder, the one with dvc.yaml and .dvc"
    )
