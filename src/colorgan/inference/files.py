"""Colour files and folders: read, colour in batches, write, and list what failed."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from colorgan import io
from colorgan.color import FloatArray
from colorgan.data.decode import UnreadablePhoto
from colorgan.data.photo_files import FoundFile, batched
from colorgan.errors import ColorganError, describe
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.formats import ColoredPage, Comparison, compare, pages, write
from colorgan.inference.hint_files import HINTS_SUFFIX, beside, read_hints, with_hints
from colorgan.inference.hints import Hint
from colorgan.inference.image import Picture
from colorgan.inference.metadata import Metadata
from colorgan.inference.plan import PlannedPicture, plan_files
from colorgan.inference.prepare import PreparedInput
from colorgan.inference.recombine import recombine

T = TypeVar("T")

PIXELS_AT_ONCE = 6_000_000
"""Pixels of the pictures held in memory at once, unless a single picture has more."""
BYTES_A_PIXEL, OTHER_BYTES = 16, 64_000_000
"""A file with more bytes than these for the pixels that are allowed is not read."""
STOP_SECONDS = 2
"""How long what is being written when the run is stopped may take."""


@dataclass(frozen=True)
class Options:
    """How files are coloured: what the options of `colorgan colorize` say.

    `format` is one of formats.SUFFIX_OF; empty keeps that of each picture. `hints` are for a single
    picture, instead of those in the file beside it.
    """

    format: str = ""
    saturation: float = 1.0
    comparison: Comparison | None = None
    overwrite: bool = False
    batch_size: int = 8
    max_megapixels: float = 200.0
    hints: Sequence[Hint] = ()


@dataclass
class Outcome:
    """The result of a run.

    Attributes:
        failures: why a source could not be coloured, or its comparison not be written.
        colored: the result of each picture that was coloured.
        skipped: number of pictures whose results existed already.
        notes: what should be said of a coloured picture: damage, further pictures in a file.
        lost: kinds of metadata that a format could not keep, as "IPTC in PNG".
        exit_code: if the run was stopped by a signal, the exit status that says so; else 0.
    """

    failures: dict[Path, str]
    left_out: list[FoundFile]
    skipped: int
    colored: dict[Path, Path] = field(default_factory=dict)
    notes: dict[Path, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    exit_code: int = 0


@dataclass(frozen=True)
class _Opened:
    plan: PlannedPicture
    picture: Picture
    metadata: Metadata
    prepared: PreparedInput
    note: str


def colorize_files(
    inputs: Sequence[str], out: Path, colorizer: Colorizer, options: Options, console: Console
) -> Outcome:
    """Colour the pictures that `inputs` name into `out`; existing results are skipped.

    A batch is read in threads, goes through the network, and is written in threads. One picture
    that fails does not stop the others. SIGTERM and Ctrl-C end the run within seconds, with an
    outcome; threads may then still be running, but write nothing more.

    Raises:
        ColorganError: as `plan_files`, which says what `inputs` and `out` may be; or there are
            hints and not one file.
    """
    if options.hints and not (len(inputs) == 1 and Path(inputs[0]).is_file()):
        raise ColorganError(
            "--hint and --hints-from are for a single picture; for several, write the hints of "
            f"each beside it, such as scan{HINTS_SUFFIX} for scan.jpg"
        )
    # Pillow's limit is global; above it Pillow raises, and need not warn below.
    Image.MAX_IMAGE_PIXELS = int(options.max_megapixels * 1_000_000)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    plan = plan_files(inputs, out, options.format, options.comparison)
    waiting = [
        one for one in plan.pictures
        if options.overwrite or not all(output.exists() for output in one.outputs)
    ]  # fmt: skip
    outcome = Outcome(plan.failures, plan.left_out, len(plan.pictures) - len(waiting))
    run = _Run(colorizer, options, outcome)
    columns = (TextColumn("colouring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    try:
        with progress:
            task = progress.add_task("", total=len(waiting))
            most = options.batch_size, PIXELS_AT_ONCE
            for batch in batched(waiting, *most, lambda plan: plan.n_pixels):
                run.color(batch)
                progress.advance(task, len(batch))
    except (KeyboardInterrupt, SystemExit) as stop:
        outcome.exit_code = getattr(stop, "code", 128 + signal.SIGINT)  # SystemExit has its own
        run.stop(waiting)
    finally:
        run.pool.shutdown(wait=False, cancel_futures=True)
    return outcome


class _Run:
    """Colours batches in threads, and notes in an outcome what became of each picture."""

    def __init__(self, colorizer: Colorizer, options: Options, outcome: Outcome) -> None:
        self.pool = ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)))
        self._colorizer, self._options, self._outcome = colorizer, options, outcome
        self._tasks: list[Future[Any]] = []
        self._stopped = Event()

    def color(self, batch: Sequence[PlannedPicture]) -> None:
        """Colour pictures and write their files."""
        opened = [one for one in self._in_threads(self._open, batch) if one]
        # In a thread too: a signal is handled only when the main thread does nothing but wait.
        [predicted] = self._in_threads(self._predict, [opened])
        self._in_threads(self._write, opened, predicted)

    def stop(self, plans: Sequence[PlannedPicture]) -> None:
        """Let what is being written be finished, and remove what is not finished in time."""
        self._stopped.set()
        begun = [task for task in self._tasks if not task.cancel()]
        with suppress(KeyboardInterrupt, SystemExit):
            wait(begun, STOP_SECONDS)
        for folder in {output.parent for plan in plans for output in plan.outputs}:
            io.remove_asides(folder, pid=os.getpid())

    def _in_threads(self, function: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
        tasks = [self.pool.submit(function, *each) for each in zip(*arguments, strict=True)]
        self._tasks = list(tasks)
        return [task.result() for task in tasks]

    def _open(self, plan: PlannedPicture) -> _Opened | None:
        """Read a picture and prepare the network's input."""
        limit = self._options.max_megapixels
        with self._noted(plan.source):
            if plan.source.stat().st_size > limit * 1_000_000 * BYTES_A_PIXEL + OTHER_BYTES:
                raise UnreadablePhoto("too large")
            picture, metadata = next(pages(plan.source.read_bytes()))
            hints, file, note = self._options.hints, beside(plan.source), ""
            # Path.exists raises an error for a name that is too long.
            if not hints and os.path.exists(file):  # noqa: PTH110
                hints = read_hints(file)
                note = f"coloured with the hints of {file.name}, {len(hints)} in number"
            prepared = self._colorizer.prepare(picture, hints)
            return _Opened(plan, picture, with_hints(metadata, hints, picture.size), prepared, note)
        return None

    def _predict(self, opened: Sequence[_Opened]) -> list[FloatArray | None]:
        """Run the network on a batch; if that fails, on each picture by itself."""
        try:
            return [*self._colorizer.predict([one.prepared for one in opened], len(opened))]
        except Exception as error:
            if len(opened) > 1:
                return [ab for one in opened for ab in self._predict([one])]
            with self._noted(opened[0].plan.source):
                raise error
            return [None]

    def _write(self, opened: _Opened, ab: FloatArray | None) -> None:
        """Colour a picture at its own size and write its files, each aside and then renamed."""
        if ab is None:
            return
        plan, picture, prepared = opened.plan, opened.picture, opened.prepared
        metadata, target = opened.metadata, plan.outputs[0]
        options, outcome = self._options, self._outcome
        with self._noted(plan.source, f"{target} cannot be written: "):
            colored = recombine(
                picture, prepared.small, ab, options.saturation, prepared.box, prepared.spots
            )
            if self._is_wanted(target):
                first = [(picture, colored, metadata)]
                further: Iterable[ColoredPage] = ()
                if plan.format == "TIFF" and metadata.n_pages:
                    content = plan.source.read_bytes()
                    further = self._colorizer.colored_pages(content, options.saturation, start=1)
                with self._aside(target) as aside, aside.open("wb") as file:
                    write(file, chain(first, further), plan.format)
            outcome.colored[plan.source] = target
            if note := "; ".join(filter(None, [opened.note, *metadata.notes(plan.format)])):
                outcome.notes[plan.source] = note
            outcome.lost |= {f"{kind} in {plan.format}" for kind in metadata.lost(plan.format)}
            for output in filter(self._is_wanted, plan.outputs[1:]):
                with self._noted(plan.source, f"coloured, but {output} cannot be written: "):
                    assert options.comparison
                    data = compare(options.comparison, picture, colored, plan.source.name)
                    with self._aside(output) as aside:
                        aside.write_bytes(data)

    def _is_wanted(self, output: Path) -> bool:
        return self._options.overwrite or not output.exists()

    @contextmanager
    def _aside(self, path: Path) -> Iterator[Path]:
        """Yield a name beside `path`, renamed at the end unless the run was stopped."""
        with io.file_aside(path) as aside:
            yield aside
            if self._stopped.is_set():
                raise CancelledError

    @contextmanager
    def _noted(self, source: Path, before: str = "") -> Iterator[None]:
        """Record any exception as a failure, so that the other pictures are still coloured."""
        try:
            yield
        except CancelledError:
            pass
        except Exception as error:
            reason, in_source = describe(error), isinstance(error, UnreadablePhoto)
            if in_source and reason.startswith("too large"):
                limit = f"{self._options.max_megapixels:g} megapixels"
                reason = f"too large: over {limit}; --max-megapixels lifts the limit"
            self._outcome.failures[source] = reason if in_source else before + reason
