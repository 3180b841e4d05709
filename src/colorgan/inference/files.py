"""Colour files: read, coloured in batches and written beside each other; failures listed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from colorgan import io
from colorgan.color import FloatArray
from colorgan.data import decode as encoded
from colorgan.data.decode import UnreadablePhoto
from colorgan.errors import ColorganError
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.compare import Comparison, compare
from colorgan.inference.formats import Metadata, encode
from colorgan.inference.image import Photo
from colorgan.inference.inputs import Failure, find
from colorgan.inference.plan import Job, batches, plan
from colorgan.inference.prepare import Fitted, fit
from colorgan.inference.recombine import merge

PIXELS_AT_ONCE = 100_000_000
"""Pixels that are held decoded at once, where no single photo has more."""


@dataclass(frozen=True)
class Options:
    """How files are coloured.

    Attributes:
        format: of SUFFIX_OF; empty keeps that of the photo.
        saturation: what the chroma is multiplied by.
        comparison: what is written beside each photo, if anything.
        overwrite: whether results of an earlier run may be replaced; inputs never are.
        batch_size: photos that go through the network at once.
        max_megapixels: the largest photo that is decoded.
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
    """What came of a run.

    Attributes:
        colored: how many photos were coloured.
        there: how many were not, because their results were there already.
        failures: what could not be coloured.
    """

    colored: int
    there: int
    failures: list[Failure]


@dataclass(frozen=True)
class _Read:
    job: Job
    photo: Photo
    metadata: Metadata
    fitted: Fitted


def colorize(
    inputs: Sequence[str], out: Path, colorizer: Colorizer, options: Options, console: Console
) -> Outcome:
    """Colour what `inputs` name into `out`; what is there already is left, unless overwritten.

    Raises:
        ColorganError: nothing can be done at all: an input is not there, or `out` is no folder
            that can be written to.
    """
    items, missing = find(inputs, out)
    jobs, failures = plan(items, options.format, options.comparison)
    failures = missing + failures
    if jobs:
        _prepare_folder(jobs[0].target.parent if items[0].exact else out)
    columns = (TextColumn("colouring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    threads = max(1, min(8, os.cpu_count() or 1))
    with (
        _largest(options.max_megapixels),
        ThreadPoolExecutor(threads) as pool,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        waiting = [job for job in jobs if options.overwrite or not _all_there(job)]
        task = progress.add_task("", total=len(waiting))
        work = _Work(colorizer, options)
        for batch in batches(waiting, options.batch_size, PIXELS_AT_ONCE):
            read: list[_Read] = []
            for result in pool.map(work.read, batch):
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    read.append(result)
            chroma = colorizer.predict([one.fitted for one in read], options.batch_size)
            failures += [found for found in pool.map(work.write, read, chroma) if found]
            progress.advance(task, len(batch))
    there = len(jobs) - len(waiting)
    return Outcome(len(items) + len(missing) - there - len(failures), there, failures)


class _Work:
    """Reading and writing of single photos, in threads."""

    def __init__(self, colorizer: Colorizer, options: Options) -> None:
        self._colorizer, self._options = colorizer, options

    def read(self, job: Job) -> _Read | Failure:
        """Read a photo and make its small copy."""
        network = self._colorizer.network
        try:
            with encoded.opened(job.source.read_bytes()) as image:
                photo = Photo.of_image(image)
                # Not before: with the tag of a TIFF gone, Pillow would not turn it upright.
                metadata = Metadata.of_image(image)
            fitted = fit(photo, network.space, self._colorizer.side, network.multiple)
        except UnreadablePhoto as problem:
            return Failure(job.source, self._with_the_flag(str(problem)))
        except OSError as error:
            return Failure(job.source, error.strerror or str(error))
        except MemoryError:
            return Failure(job.source, "too large for the memory of this machine")
        return _Read(job, photo, metadata, fitted)

    def write(self, read: _Read, ab: FloatArray) -> Failure | None:
        """Colour a photo at its own size and write it, aside and then renamed."""
        job, options = read.job, self._options
        try:
            colored = merge(read.photo, read.fitted.srgb, ab, options.saturation, read.fitted.box)
            content = {job.target: encode(
                read.photo, colored, read.metadata, job.format, options.quality
            )}  # fmt: skip
            if options.comparison and job.comparison:
                content[job.comparison] = compare(
                    options.comparison, read.photo, colored, job.source.name
                )
            for path in content:
                if options.overwrite or not path.exists():
                    with io.file_aside(path) as aside:
                        aside.write_bytes(content[path])
        except OSError as error:
            # Pillow's own errors have no number.
            reason = f"{job.target} cannot be written: {error.strerror or error}"
            return Failure(job.source, reason)
        except Exception as error:
            # Whatever it is, the other photos are not to suffer from it.
            return Failure(job.source, f"it cannot be written as {job.format}: {error}")
        return None

    def _with_the_flag(self, reason: str) -> str:
        if not reason.startswith("too large"):
            return reason
        limit = self._options.max_megapixels
        return f"too large: over {limit:g} megapixels; --max-megapixels lifts the limit"


def _all_there(job: Job) -> bool:
    return all(output.exists() for output in job.outputs)


@contextmanager
def _largest(megapixels: float) -> Iterator[None]:
    """Set the limit that Pillow has for the whole process, and let it not warn besides."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = int(megapixels * 1_000_000)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _prepare_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".colorgan.{os.getpid()}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ColorganError(
            f"-o {folder} cannot be written to ({error.strerror}); it should be a folder, new or "
            "your own"
        ) from None
