"""A training run in a store that may be slow, stumble or be gone: training does not wait for it.

What is reported goes to an outbox; a thread sends it in rounds, and again what could not be sent.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from PIL import Image

from colorgan.tracking.outbox import Outbox, Point
from colorgan.tracking.run import UNSENT, Status
from colorgan.tracking.sending import Sender

POINTS_PER_REQUEST = 1000
SYSTEM = "system/"
"""What the names of the machine's metrics begin with: nobody needs them to be complete."""


class RemoteRun(Protocol):
    """A run in a store; each method may raise anything, and may be called again if it did."""

    @property
    def place(self) -> str:
        """The name of the store, for a sentence."""

    def send_points(self, points: Sequence[Point]) -> None:
        """Keep these, all or none."""

    def send_picture(self, whole: Path, small: Path) -> None:
        """Keep a picture, in place of one of the same names."""

    def send_model(self, folder: Path, sha256: str) -> None:
        """Keep the final weights and note their SHA-256."""

    def end(self, status: Status) -> None:
        """Note that the run has ended."""


class RemoteSink:
    """A sink for a run in a store.

    Losses are `train/<name>` by iteration, validation metrics `val/<name>` by epoch.
    """

    def __init__(
        self,
        run: RemoteRun,
        folder: Path,
        steps: Mapping[str, int],
        pictures: Collection[tuple[str, int]],
        model_sha256: str | None,
        again: str,
    ) -> None:
        """Record into `run`.

        Args:
            run: the run.
            folder: that of the training, with its CSV files; what waits lies there too.
            steps: the largest step that the store has of each metric.
            pictures: key and step of each picture that it has.
            model_sha256: that of the model that it has, if any.
            again: the command that sends the rest of a training that has finished.
        """
        self._run = run
        self._folder = folder
        self._warned = False
        self._model: tuple[Path, str] | None = None
        self._model_there = model_sha256
        self._again = again
        self._outbox = Outbox(folder / UNSENT, steps, pictures)
        self._sender = Sender(self._send, self._failed)

    def log_losses(self, iteration: int, epoch: int, losses: Mapping[str, float]) -> None:
        """Record the losses of an iteration, soon."""
        values = {f"train/{name}": value for name, value in losses.items()}
        self._outbox.add({**values, "epoch": epoch}, iteration)

    def log_validation(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the validation metrics of an epoch, soon."""
        self._outbox.add({f"val/{name}": value for name, value in metrics.items()}, epoch)

    def log_machine(self, values: Mapping[str, float], number: int) -> None:
        """Record a sample of the machine, soon."""
        named = {SYSTEM + name: value for name, value in values.items()}
        self._outbox.add(named, number, keep=False)

    def log_picture(self, picture: Image.Image, key: str, epoch: int) -> None:
        """Record a picture, soon."""
        self._outbox.add_picture(picture, key, epoch)

    def log_model(self, folder: Path, sha256: str) -> None:
        """Record the final weights; returns when that was tried once."""
        if sha256 != self._model_there:
            self._model = folder, sha256
            self._sender.flush()

    def close(self, status: Status) -> None:
        """Send what is left and end the run; does not wait for a store that is gone."""
        missing = ["the end"]

        def end() -> None:
            self._run.end(status)
            missing.clear()

        self._sender.close(end)
        counts = {
            "metric": sum(not p.key.startswith(SYSTEM) for p in self._outbox.points()),
            "picture": len(self._outbox.pictures()),
        }
        left = bool(any(counts.values()) or self._model or missing)
        try:
            self._outbox.close(done=not left)
        except OSError as error:
            if left:
                say(f"what waits for {self._run.place} could not be kept whole "
                    f"({error.strerror or error})")  # fmt: skip
        counts["picture"] += self._outbox.lost
        parts = [f"{n} {name}{'s' * (n != 1)}" for name, n in counts.items() if n]
        parts += (["the model"] if self._model else []) + missing
        if parts:
            again = f"`{self._again}` with these parameters"
            who = again if status == "FINISHED" else "training that goes on"
            say(f"{self._run.place} did not get {_listed(parts)} of this run: losses.csv and "
                f"validation.csv in {self._folder} have every number"
                f"{f', and {who} sends the rest' if left else ''}")  # fmt: skip

    def _send(self) -> None:
        """Send what waits: metrics, the model, pictures; what fails stays for the next round."""
        # Those that wait now: to chase each newcomer would be to never stop.
        left = len(self._outbox.points())
        while left > 0:
            # In order, so that the latest step in the store says what is there, of each metric.
            points = self._outbox.points(min(left, POINTS_PER_REQUEST))
            self._run.send_points(points)
            self._outbox.sent(len(points))
            self._sender.arrived()
            left -= len(points)
        if self._model:
            # HTTP notices by itself when nothing moves any more.
            self._sender.patient = True
            try:
                self._run.send_model(*self._model)
            finally:
                self._sender.patient = False
            self._model_there, self._model = self._model[1], None
            self._sender.arrived()
        for path in self._outbox.pictures():
            with _two_sizes(path) as (whole, small):
                self._run.send_picture(whole, small)
            path.unlink()
            self._sender.arrived()

    def _failed(self, error: Exception) -> None:
        """Say once that something failed; training goes on."""
        if not self._warned:
            self._warned = True
            say(f"{self._run.place} failed ({reason(error)}): training goes on, what could not be "
                "sent is kept and sent again")  # fmt: skip


@contextmanager
def _two_sizes(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a picture as MLflow's pages want it: as PNG and as a small WebP, named alike."""
    with TemporaryDirectory() as folder, Image.open(path) as picture:
        whole = Path(folder, f"{path.stem}.png")
        small = Path(folder, f"{path.stem}+compressed.webp")
        picture.save(whole)
        picture.thumbnail((256, 256))
        picture.save(small)
        yield whole, small


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def shown(uri: str) -> str:
    """Return a URI without the name and password it may carry."""
    return re.sub(r"//[^/@]*@", "//***@", uri)


def reason(error: Exception) -> str:
    """Return the first line of what an error says, without passwords."""
    text = str(error) or type(error).__name__
    return textwrap.shorten(shown(text.strip().splitlines()[0]), 200, placeholder=" ...")


def say(sentence: str) -> None:
    """Tell the person at the terminal."""
    print(sentence, file=sys.stderr, flush=True)
