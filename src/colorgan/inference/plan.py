"""Plan a run over files: which pictures the inputs name, and which file each becomes."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colorgan.data import decode
from colorgan.errors import ColorganError
from colorgan.inference.formats import FORMAT_OF, SUFFIX_OF, Comparison, written_as

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".mpo",
    ".avif",
    ".heic",
    ".jp2",
    ".pgm",
    ".jfif",
    ".jpe",
)
"""Files with these are found in folders and by patterns; a file given by name is always tried."""
COMPARISON_ENDINGS: dict[Comparison, str] = {"side": "_compare.jpg", "slider": "_compare.html"}


@dataclass(frozen=True)
class Failure:
    """An input that was not coloured, and why."""

    source: Path
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be done with one picture.

    Attributes:
        source: its file.
        target: the file to write.
        comparison: the file with before and after, if one is wanted.
        format: of `target`, one of SUFFIX_OF.
        n_pixels: according to the head of the file; 0 if it has none that can be read.
    """

    source: Path
    target: Path
    comparison: Path | None
    format: str
    n_pixels: int

    @property
    def outputs(self) -> list[Path]:
        """The files to write."""
        return [self.target] if self.comparison is None else [self.target, self.comparison]


def plan_files(
    inputs: Sequence[str], out: Path, format: str, comparison: Comparison | None
) -> tuple[list[Plan], list[Failure]]:
    """Find the pictures of files, folders (recursively) and glob patterns, and plan their outputs.

    Folders keep their structure below `out`, and so does what a pattern finds. If `out` lies in a
    searched folder, the files in it are not inputs.

    Args:
        inputs: files, folders and patterns.
        out: a folder; for a single file it may be a file name with the suffix of a picture.
        format: of SUFFIX_OF; empty keeps that of each picture.
        comparison: what to write beside each picture, if anything.

    Returns:
        The plans, sorted by source, and the inputs that cannot be coloured.

    Raises:
        ColorganError: `out` is a file where a folder is needed, or its suffix does not fit.
    """
    if _is_single_file(inputs, out):
        format = _format_of_name(out, format)
        named, failures = [(Path(inputs[0]), out)], list[Failure]()
    else:
        named, failures = _find(inputs, out)
    sources = {source.resolve() for source, _ in named}
    taken: dict[Path, Path] = {}
    plans = []
    for source, wanted in named:
        kept_format, n_pixels = _read_head(source)
        written = format or kept_format or FORMAT_OF.get(wanted.suffix.lower(), "PNG")
        target = _with_suffix_of(wanted, written)
        beside = _comparison_name(target, comparison, taken) if comparison else None
        plan = Plan(source, target, beside, written, n_pixels)
        problems = (_problem(output, sources, taken) for output in plan.outputs)
        if problem := next(filter(None, problems), ""):
            failures.append(Failure(source, problem))
        else:
            plans.append(plan)
            taken |= {output.resolve(): source for output in plan.outputs}
    return plans, failures


def _is_single_file(inputs: Sequence[str], out: Path) -> bool:
    is_file = len(inputs) == 1 and Path(inputs[0]).is_file()
    return is_file and not out.is_dir() and out.suffix.lower() in SUFFIXES


def _find(inputs: Sequence[str], out: Path) -> tuple[list[tuple[Path, Path]], list[Failure]]:
    """Return (source, target) of each picture, its target with the source's suffix."""
    if out.exists() and not out.is_dir():
        raise ColorganError(
            f"-o {out} is a file; for several pictures it should be a folder, for a single one a "
            f"new name with {', '.join(SUFFIXES)}"
        )
    found: dict[Path, tuple[Path, Path]] = {}
    failures = []
    for text in inputs:
        try:
            pairs = {source.resolve(): (source, target) for source, target in _pairs(text, out)}
            problem = "" if pairs else _why_nothing(text)
        except OSError as error:
            # A folder without permission, or a name that is too long.
            pairs, problem = {}, error.strerror or str(error)
        if problem:
            failures.append(Failure(Path(text), problem))
        # Of a picture that is named twice the first name counts.
        found = pairs | found
    return sorted(found.values()), failures


def _pairs(text: str, out: Path) -> Iterator[tuple[Path, Path]]:
    path = Path(text)
    if path.is_dir():
        for source in _pictures(path.rglob("*"), path, out):
            yield source, out / source.relative_to(path)
    elif path.exists():
        yield path, out / path.name
    elif glob.has_magic(text):
        root = path
        while glob.has_magic(str(root)):
            root = root.parent
        for source in _pictures(root.glob(str(path.relative_to(root))), root, out):
            yield source, out / source.relative_to(root)


def _pictures(paths: Iterator[Path], root: Path, out: Path) -> Iterator[Path]:
    results = out.resolve()
    has_results = root.resolve() in results.parents
    for path in paths:
        is_picture = path.suffix.lower() in SUFFIXES and path.is_file()
        if is_picture and not (has_results and results in path.resolve().parents):
            yield path


def _why_nothing(text: str) -> str:
    if Path(text).is_dir():
        return f"it holds no picture ({', '.join(SUFFIXES)})"
    if glob.has_magic(text):
        return f"nothing that it fits is a picture ({', '.join(SUFFIXES)})"
    return "it does not exist; it should be a picture, a folder, or a pattern as 'scans/**/*.tif'"


def _read_head(source: Path) -> tuple[str, int]:
    """Return the format to write and the number of pixels; a damaged file is reported when read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with source.open("rb") as file:
                format, n_pixels = decode.read_head(file)
            return written_as(format), n_pixels
    except Exception:
        # Decoders of damaged files raise nearly anything.
        return "", 0


def _format_of_name(target: Path, wanted: str) -> str:
    """Return the format of a file that the user named."""
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


def _with_suffix_of(target: Path, format: str) -> Path:
    suffix = target.suffix.lower()
    if FORMAT_OF.get(suffix) == format:
        return target
    # A suffix of no picture is part of the name, as in "Foto Nr. 1".
    name = target.stem if suffix in SUFFIXES else target.name
    return target.with_name(name + SUFFIX_OF[format])


def _comparison_name(target: Path, comparison: Comparison, taken: dict[Path, Path]) -> Path:
    ending = COMPARISON_ENDINGS[comparison]
    beside = target.with_name(target.stem + ending)
    # If a.jpg has taken it, a.png becomes a.png_compare.
    return target.with_name(target.name + ending) if beside.resolve() in taken else beside


def _problem(output: Path, sources: set[Path], taken: dict[Path, Path]) -> str:
    place = output.resolve()
    if place in sources:
        return f"it would be written over {output}, an input; use another folder"
    if place in taken:
        return f"{taken[place]} becomes {output} already; colour them into two folders"
    return f"{output} is a folder" if output.is_dir() else ""
