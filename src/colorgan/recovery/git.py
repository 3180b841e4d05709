"""The few questions that recovery has for git, asked of its command line."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from colorgan.errors import ColorganError
from colorgan.tracking.lineage import git_environment

REFLOG_LINE = re.compile(r"(?P<old>\w+) (?P<new>\w+) .*> (?P<time>\d+) \S+\t(?P<message>.*)")
MOVED = re.compile(r"checkout: moving from (?P<source>\S+) to (?P<target>\S+)$")
SHA = re.compile(r"[0-9a-f]{40,64}$")


@dataclass(frozen=True)
class Move:
    """An entry of a reflog: commit before and after, seconds since 1970, and why."""

    old: str
    new: str
    time: int
    message: str


@dataclass(frozen=True)
class Commit:
    """A commit: its name, the names of its parents, seconds since 1970, first line of its text."""

    name: str
    parents: tuple[str, ...]
    time: int
    subject: str


class Git:
    """The repository around `folder`; names of files are relative to the repository's top.

    Raises:
        ColorganError: there is no git, or no repository.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not self.ask("rev-parse", "--git-dir"):
            raise ColorganError(
                f"{folder} is not in a git repository: run `colorgan recover` in the project's "
                "folder, where DVC and git are set up"
            )

    def ask(self, *arguments: str) -> str | None:
        """Return what git prints, None if it fails."""
        out = self.raw(*arguments)
        return None if out is None else out.decode(errors="replace").strip()

    def raw(self, *arguments: str) -> bytes | None:
        """Return what git prints as bytes, None if it fails."""
        done = self._run(arguments)
        return done.stdout if done.returncode == 0 else None

    def tell(self, *arguments: str) -> None:
        """Have git do something; a ColorganError with git's own words if it fails."""
        done = self._run(arguments)
        if done.returncode != 0:
            words = " ".join(done.stderr.decode(errors="replace").split())
            raise ColorganError(f"`git {' '.join(arguments)}` failed: {words}")

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
        try:
            # Asking for the status must not itself write the index.
            env = git_environment(GIT_OPTIONAL_LOCKS="0", LC_ALL="C")
            command = ["git", "-c", "core.quotePath=false", *arguments]
            return subprocess.run(
                command, cwd=self.folder, env=env, capture_output=True, check=False
            )
        except FileNotFoundError:
            raise ColorganError("git is not installed or not on PATH; DVC needs it too") from None

    def path(self, name: str) -> Path:
        """Return where git keeps `name`, as in logs/HEAD."""
        return self.folder / (self.ask("rev-parse", "--git-path", name) or name)

    @cached_property
    def head(self) -> str:
        """The commit checked out, empty before the first one."""
        return self.ask("rev-parse", "--verify", "--quiet", "HEAD") or ""

    @cached_property
    def branch(self) -> str:
        """The branch checked out, empty if HEAD is detached."""
        return self.ask("symbolic-ref", "--quiet", "--short", "HEAD") or ""

    @cached_property
    def stash(self) -> str:
        """The newest stash, empty if there is none."""
        return self.ask("rev-parse", "--verify", "--quiet", "refs/stash") or ""

    @cached_property
    def moves(self) -> list[Move]:
        """How HEAD has moved, oldest first."""
        try:
            lines = self.path("logs/HEAD").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        found = [REFLOG_LINE.match(line) for line in lines.splitlines()]
        return [Move(m["old"], m["new"], int(m["time"]), m["message"]) for m in found if m]

    def refs(self, prefix: str) -> dict[str, str]:
        """Return the refs under a prefix and what they point to."""
        lines = self.ask("for-each-ref", "--format=%(refname) %(objectname)", prefix) or ""
        return dict(line.split(" ", 1) for line in lines.splitlines())

    def commits(self, names: list[str]) -> list[Commit]:
        """Return commits by their names."""
        if not names:
            return []
        form = "--format=%H%x00%P%x00%ct%x00%s"
        out = self.ask("log", "--no-walk=unsorted", form, *names) or ""
        found = []
        for line in out.splitlines():
            name, parents, time, subject = line.split("\0")
            found.append(Commit(name, tuple(parents.split()), int(time), subject))
        return found

    def unreachable_commits(self) -> list[Commit]:
        """Return the commits that no ref leads to, as those of stashes that were popped."""
        lines = self.ask("fsck", "--unreachable", "--no-reflogs", "--no-progress") or ""
        marked = [line.split() for line in lines.splitlines()]
        return self.commits(
            [words[2] for words in marked if words[:2] == ["unreachable", "commit"]]
        )

    def content(self, commit: str, path: str) -> bytes | None:
        """Return a file as it is in a commit ("": as it is staged), None if it is not there."""
        return self.raw("show", f"{commit}:{path}")

    @cached_property
    def top(self) -> Path:
        """The top of the working tree."""
        return Path(self.ask("rev-parse", "--show-toplevel") or self.folder)

    def name(self, path: Path) -> str:
        """Return git's name of a file of the folder."""
        return (self.ask("rev-parse", "--show-prefix") or "") + path.as_posix()

    def changed(self, *between: str) -> set[str]:
        """Return the files that differ between two commits, or a commit and the working tree."""
        out = self.raw("diff", "--name-only", "--no-renames", "-z", *between) or b""
        return {name.decode(errors="surrogateescape") for name in out.split(b"\0") if name}

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit is another or leads to it."""
        return self.raw("merge-base", "--is-ancestor", older, newer) is not None
