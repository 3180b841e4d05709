"""Colour files and folders: read, colour in batches, write, and list what failed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from colorgan import io
from colorgan.color import FloatArray
from colorgan.data.decode import UnreadablePhoto
from colorgan.errors import ColorganError
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.formats import Comparison, compare, decode, write
from colorgan.inference.image import Picture
from colorgan.inference.metadata import Metadata
from colorgan.inference.plan import Failure, Plan, plan_files
from colorgan.inference.prepare import PreparedInput
from colorgan.inference.recombine import recombine

PIXELS_AT_ONCE = 100_000_000
"""Decoded pixels held in memory at once, unless a single picture has more."""


@dataclass(frozen=True)
class Options:
    """How files are coloured.

    Attributes:
        format: of formats.SUFFIX_OF; empty keeps that of the picture.
        saturation: factor of the predicted chroma.
        comparison: what is written beside each picture, if anything.
        overwrite: whether earlier results are replaced; inputs never are.
        batch_size: pictures that go through the network at once.
        max_megapixels: size of the largest picture that is decoded.
        quality: of JPEG and WebP, 1 to 100.
    """

    format: str = ""
    saturation: float = 1.0
    comparison: Comparison | None = None
    overwrite: bool = False
    batch_size: int = 8
    max_megapixels: float = 200.0
    quality: int = 95


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        colored: number of pictures coloured.
        skipped: number of pictures whose results existed already.
        failures: what could not be coloured.
        notes: what should be said of coloured pictures: damage, further pictures in a file.
        lost: kinds of metadata that a format could not keep, as "IPTC in PNG".
    """

    colored: int
    skipped: int
    failures: list[Failure]
    notes: list[Failure]
    lost: list[str]


@dataclass(frozen=True)
class _Opened:
    plan: Plan
    picture: Picture
    metadata: Metadata
    prepared: PreparedInput


def colorize_files(
    inputs: Sequence[str], out: Path, colorizer: Colorizer, options: Options, console: Console
) -> Outcome:
    """Colour the pictures that `inputs` name into `out`; existing results are skipped.

    A batch is read in threads, goes through the network, and is written in threads. One picture
    that fails does not stop the others.

    Args:
        inputs: files, folders and glob patterns.
        out: a folder; for a single file it may be a file name.
        colorizer: colours them.
        options: how.
        console: shows the progress, if it is a terminal.

    Raises:
        ColorganError: nothing can be written to `out`.
    """
    plans, failures = plan_files(inputs, out, options.format, options.comparison)
    if plans:
        _check_writable(out.parent if plans[0].target == out else out)
    waiting = [plan for plan in plans if options.overwrite or not _is_done(plan)]
    n_colored = 0
    notes: list[Failure] = []
    lost: set[str] = set()
    columns = (TextColumn("colouring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    threads = max(1, min(8, os.cpu_count() or 1))
    with (
        _pixel_limit(options.max_megapixels),
        ThreadPoolExecutor(threads) as pool,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("", total=len(waiting))
        for batch in _batches(waiting, options.batch_size):
            results = list(pool.map(lambda plan: _open(plan, colorizer, options), batch))
            opened = [result for result in results if isinstance(result, _Opened)]
            failures += [result for result in results if isinstance(result, Failure)]
            predicted = colorizer.predict([one.prepared for one in opened], options.batch_size)
            written = list(
                pool.map(lambda one, ab: _write(one, ab, colorizer, options), opened, predicted)
            )
            failures += filter(None, written)
            for one in opened:
                format = one.plan.format
                notes += [Failure(one.plan.source, note) for note in one.metadata.notes(format)]
                lost |= {f"{kind} in {format}" for kind in one.metadata.lost(format)}
            n_colored += written.count(None)
            progress.advance(task, len(batch))
    return Outcome(n_colored, len(plans) - len(waiting), failures, notes, sorted(lost))


def _batches(plans: Sequence[Plan], batch_size: int) -> Iterator[list[Plan]]:
    """Yield up to `batch_size` plans at a time, fewer if together they exceed PIXELS_AT_ONCE."""
    batch: list[Plan] = []
    n_pixels = 0
    for plan in plans:
        if batch and (len(batch) == batch_size or n_pixels + plan.n_pixels > PIXELS_AT_ONCE):
            yield batch
            batch, n_pixels = [], 0
        batch.append(plan)
        n_pixels += plan.n_pixels
    if batch:
        yield batch


def _open(plan: Plan, colorizer: Colorizer, options: Options) -> _Opened | Failure:
    """Read a picture and prepare the network's input."""
    try:
        picture, metadata = decode(plan.source.read_bytes())
        return _Opened(plan, picture, metadata, colorizer.prepare(picture))
    except UnreadablePhoto as error:
        reason = str(error)
        if reason.startswith("too large"):
            limit = f"{options.max_megapixels:g} megapixels"
            reason = f"too large: over {limit}; --max-megapixels lifts the limit"
        return Failure(plan.source, reason)
    except OSError as error:
        return Failure(plan.source, error.strerror or str(error))
    except MemoryError:
        return Failure(plan.source, "too large for the memory of this machine")


def _write(
    opened: _Opened, ab: FloatArray, colorizer: Colorizer, options: Options
) -> Failure | None:
    """Colour a picture at its own size and write its files, each aside and then renamed."""
    plan, picture, prepared = opened.plan, opened.picture, opened.prepared
    try:
        colored = recombine(picture, prepared.small, ab, options.saturation, prepared.box)
        if options.overwrite or not plan.target.exists():
            pages = iter([(picture, colored, opened.metadata)])
            if opened.metadata.n_pages and plan.format == "TIFF":
                content = plan.source.read_bytes()
                pages = chain(pages, colorizer.colored_pages(content, options.saturation, 1))
            with io.file_aside(plan.target) as aside, aside.open("wb") as file:
                write(file, pages, plan.format, options.quality)
        comparison = plan.comparison
        if options.comparison and comparison and (options.overwrite or not comparison.exists()):
            with io.file_aside(comparison) as aside:
                aside.write_bytes(compare(options.comparison, picture, colored, plan.source.name))
    except UnreadablePhoto as error:
        return Failure(plan.source, str(error))
    except OSError as error:
        # Pillow's own errors have no strerror.
        reason = f"{plan.target} cannot be written: {error.strerror or error}"
        return Failure(plan.source, reason)
    except Exception as error:
        # Encoders raise nearly anything; the other pictures must be coloured all the same.
        return Failure(plan.source, f"it cannot be written as {plan.format}: {error}")
    return None


def _is_done(plan: Plan) -> bool:
    return all(output.exists() for output in plan.outputs)


@contextmanager
def _pixel_limit(megapixels: float) -> Iterator[None]:
    """Set Pillow's limit, which is global; above it Pillow raises, and need not warn below."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = int(megapixels * 1_000_000)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ColorganError(
            f"-o {folder} cannot be written to ({error.strerror}); it should be a folder, new or "
            "your own"
        ) from None
