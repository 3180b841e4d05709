"""Which file each picture becomes, decided before anything is written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from colorgan.data import decode as encoded
from colorgan.errors import ColorganError
from colorgan.inference.compare import ENDINGS, Comparison
from colorgan.inference.formats import FORMAT_OF, SUFFIX_OF, written_as
from colorgan.inference.inputs import SUFFIXES, Failure, Item


@dataclass(frozen=True)
class Job:
    """A picture to be coloured, and what it is to become.

    Attributes:
        source: its file.
        target: the file to write.
        comparison: the file with before and after, if one is wanted.
        format: the format of `target`.
        pixels: how many the head of the file says it has.
    """

    source: Path
    target: Path
    comparison: Path | None
    format: str
    pixels: int

    @property
    def outputs(self) -> list[Path]:
        """The files to write."""
        return [self.target] if self.comparison is None else [self.target, self.comparison]


def plan(
    items: Sequence[Item], format: str, comparison: Comparison | None
) -> tuple[list[Job], list[Failure]]:
    """Say for each picture which files it becomes, and refuse those that may not be written.

    Args:
        items: the pictures.
        format: of SUFFIX_OF; empty keeps that of each picture.
        comparison: what is written beside each, if anything.

    Raises:
        ColorganError: the file that was named has a suffix that does not fit.
    """
    sources = {item.source.resolve() for item in items}
    made_of: dict[Path, Path] = {}
    jobs, failures = [], []
    for item in items:
        job = _job(item, format, comparison, made_of)
        problem = next(filter(None, (_problem(p, sources, made_of) for p in job.outputs)), "")
        if problem:
            failures.append(Failure(item.source, problem))
        else:
            made_of |= {output.resolve(): item.source for output in job.outputs}
            jobs.append(job)
    return jobs, failures


def batches(jobs: Sequence[Job], batch_size: int, most_pixels: int) -> Iterator[list[Job]]:
    """Yield the jobs so many at a time, fewer where they are large."""
    batch: list[Job] = []
    pixels = 0
    for job in jobs:
        if batch and (len(batch) == batch_size or pixels + job.pixels > most_pixels):
            yield batch
            batch, pixels = [], 0
        batch.append(job)
        pixels += job.pixels
    if batch:
        yield batch


def _problem(output: Path, sources: set[Path], made_of: dict[Path, Path]) -> str:
    place = output.resolve()
    if place in sources:
        return f"it would be written over {output}, an input; use another folder"
    if place in made_of:
        return f"{made_of[place]} becomes {output} already; colour them into two folders"
    return f"{output} is a folder" if output.is_dir() else ""


def _job(
    item: Item, wanted: str, comparison: Comparison | None, made_of: Mapping[Path, Path]
) -> Job:
    kept, pixels = _head(item.source)
    format = wanted or kept or FORMAT_OF.get(item.target.suffix.lower(), "PNG")
    target = item.target
    if item.exact:
        format = _named_format(target, wanted)
    elif FORMAT_OF.get(target.suffix.lower()) != format:
        # What is no suffix of a picture is part of the name: "Foto Nr. 1".
        name = target.stem if target.suffix.lower() in SUFFIXES else target.name
        target = target.with_name(name + SUFFIX_OF[format])
    beside = None
    if comparison:
        beside = target.with_name(target.stem + ENDINGS[comparison])
        if beside.resolve() in made_of:
            # a.jpg has it; a.png has another.
            beside = target.with_name(target.name + ENDINGS[comparison])
    return Job(item.source, target, beside, format, pixels)


def _named_format(target: Path, wanted: str) -> str:
    """Return the format of a file that was named, suffix and all."""
    named = FORMAT_OF.get(target.suffix.lower())
    if named is None:
        raise ColorganError(
            f"-o {target}: {target.suffix} is not written; it should be one of "
            f"{', '.join(FORMAT_OF)}"
        )
    if wanted and named != wanted:
        raise ColorganError(
            f"-o {target} is a {named} by its suffix and --format says {wanted}; leave one out"
        )
    return named


def _head(source: Path) -> tuple[str, int]:
    """Return format and pixels of a file; what is wrong with it is found when it is read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=encoded.FORMATS) as image:
                return written_as(image.format), image.width * image.height
    except Exception:
        # Decoders of damaged files raise nearly anything.
        return "", 0
