"""Metrics and pictures on their way to a store: each goes once, and a kill loses none.

What waits lies in a folder too, in `metrics.jsonl` and a file a picture, until it has arrived: a
training that goes on from a checkpoint does not report again what came before it.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from PIL import Image

from colorgan import io

PICTURES = 100
"""Pictures that may wait; further ones are lost."""

# MLflow's own names of stepped pictures, by which its pages find them.
_PICTURE = re.compile(r"(?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+(?P<time>\d+)\+[0-9a-f-]{36}")


class Point(NamedTuple):
    """A value of a metric; `time` is in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int


class Outbox:
    """What waits to be sent, oldest first.

    Several threads may add; one takes, with `points` and then `sent`.

    Attributes:
        lost: pictures that could not be kept.
    """

    def __init__(
        self, folder: Path, steps: Mapping[str, int], pictures: Collection[tuple[str, int]]
    ) -> None:
        """Find what an earlier process left in `folder`.

        Args:
            folder: where to keep what waits; made if need be.
            steps: the largest step that the store has of each metric; up to there nothing is sent.
            pictures: key and step of each picture that the store has.
        """
        self.lost = 0
        self._folder = folder
        self._journal_path = folder / "metrics.jsonl"
        self._steps = dict(steps)
        self._lock = threading.Lock()
        self._points: list[Point] = []
        self._journal: TextIO | None = None
        with suppress(OSError):
            self._open_journal()
        waiting = {id for path in self.pictures() if (id := picture_id(path.name))}
        self._known = {(_safe(key), step) for key, step in pictures} | waiting

    def add(self, values: Mapping[str, float], step: int, *, keep: bool = True) -> None:
        """Add values of metrics; those that the store has or that wait already are left out.

        Args:
            values: by name; for each name the steps must rise.
            step: the iteration or epoch they belong to.
            keep: whether they are worth a place on disk.
        """
        now = int(time.time() * 1000)
        with self._lock:
            self._add(now, step, values, keep)

    def add_picture(self, picture: Image.Image, key: str, step: int) -> None:
        """Add a picture, unless the store has it or it waits already."""
        if (_safe(key), step) in self._known:
            return
        self._known.add((_safe(key), step))
        name = f"{_safe(key)}+step+{step}+timestamp+{int(time.time() * 1000)}+{uuid.uuid4()}.tif"
        try:
            if len(self.pictures()) >= PICTURES:
                raise OSError("too many pictures wait")
            # As it is: to compress it costs twenty times as much, and the sender does it.
            with io.file_aside(self._folder / name) as aside:
                picture.save(aside, format="TIFF")
        except OSError:
            self.lost += 1

    def points(self, n: int | None = None) -> list[Point]:
        """Return the oldest points that wait, `n` at most."""
        return self._points[:n]

    def sent(self, n: int) -> None:
        """Forget the `n` oldest points."""
        with self._lock:
            del self._points[:n]
            # Most of the time nothing waits, so the file stays small. Where that fails, what stays
            # in it is known to the store by its steps.
            if not self._points and self._journal:
                with suppress(OSError):
                    self._journal.truncate(0)

    def pictures(self) -> list[Path]:
        """Return the pictures that wait, the oldest first."""
        found = ((_PICTURE.match(path.name), path) for path in self._folder.glob("*.tif"))
        named = [(int(name["time"]), int(name["step"]), path) for name, path in found if name]
        return [path for *_, path in sorted(named)]

    def close(self, done: bool = True) -> None:
        """Stop writing to disk; remove the folder if nothing is left in it and all is `done`.

        Raises:
            OSError: some of the metrics that wait could not be written, as on a full disk.
        """
        with self._lock:
            journal, self._journal = self._journal, None
        try:
            if journal:
                # Writes what it could not write before.
                journal.close()
        finally:
            with suppress(OSError):
                if self._journal_path.stat().st_size == 0:
                    self._journal_path.unlink()
                if done:
                    self._folder.rmdir()

    def _add(self, now: int, step: int, values: Mapping[str, float], keep: bool) -> None:
        new = {key: float(v) for key, v in values.items() if step > self._steps.get(key, -1)}
        if not new:
            return
        self._steps |= dict.fromkeys(new, step)
        self._points += [Point(key, value, now, step) for key, value in new.items()]
        if keep and self._journal:
            # A full disk is no reason to end a training: the points are in memory as well.
            with suppress(OSError):
                self._journal.write(json.dumps([now, step, new]) + "\n")
                self._journal.flush()

    def _open_journal(self) -> None:
        """Take over what is in the journal and begin a new one with it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for half_written in self._folder.glob(".*.part"):
            half_written.unlink()
        path = self._journal_path
        for now, step, values in _records(path):
            self._add(now, step, values, keep=False)
        with io.file_aside(path) as aside:
            lines = [json.dumps([p.time, p.step, {p.key: p.value}]) + "\n" for p in self._points]
            aside.write_text("".join(lines), encoding="utf-8")
        # Appending, so that a file that was cut goes on from its new end.
        self._journal = path.open("a", encoding="utf-8")


def picture_id(name: str) -> tuple[str, int] | None:
    """Return key and step of the picture that a file of this name holds; None if it holds none."""
    found = _PICTURE.match(name)
    return (found["key"], int(found["step"])) if found else None


def _safe(key: str) -> str:
    """Return a key as it stands in the name of a file."""
    return key.replace("/", "~")


def _records(path: Path) -> Iterator[tuple[int, int, dict[str, float]]]:
    """Yield the lines of a journal: time, step and values; a line cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError):
            now, step, values = json.loads(line)
            yield int(now), int(step), dict(values)
