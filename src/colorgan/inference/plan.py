"""Plan a run over files: which pictures the inputs name, and which file each becomes."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from colorgan.data import decode
from colorgan.data.photo_files import SUFFIXES, FoundFile, find_files
from colorgan.errors import ColorganError, describe
from colorgan.inference.formats import FORMAT_OF, SUFFIX_OF, WRITTEN_AS, Comparison
from colorgan.inference.hint_files import beside as hints_beside

COMPARISON_ENDINGS: dict[Comparison, str] = {"side": "_compare.jpg", "slider": "_compare.html"}
ANY_SIZE = 2**62
"""Pixels of a picture that may be of any size: it is coloured alone."""


@dataclass(frozen=True)
class PlannedPicture:
    """What is to be done with one picture.

    Attributes:
        outputs: the file to write, and that with before and after, if one is wanted.
        format: to write, one of SUFFIX_OF.
        n_pixels: according to the head of the file; ANY_SIZE if that cannot be read.
    """

    source: Path
    outputs: list[Path]
    format: str
    n_pixels: int


@dataclass
class Plan:
    """The pictures to colour, the files left out, and why the other inputs cannot be coloured."""

    pictures: list[PlannedPicture] = field(default_factory=list)
    left_out: list[FoundFile] = field(default_factory=list)
    failures: dict[Path, str] = field(default_factory=dict)


def plan_files(
    inputs: Sequence[str], out: Path, format: str, comparison: Comparison | None
) -> Plan:
    """Find the pictures of files, folders (recursively) and glob patterns, and plan their outputs.

    Folders keep their structure below `out`, and so does what a pattern finds. If `out` lies in a
    searched folder, the files in it are not inputs.

    `out` is a folder, which is created; for a single file it may be a file name. `format` is of
    SUFFIX_OF; empty keeps that of each picture.

    Raises:
        ColorganError: nothing can be written to `out`, or its suffix does not fit.
    """
    plan = Plan()
    if _is_file_name(inputs, out):
        format = _format_of_name(out, format)
        found, folder = {Path(inputs[0]): out}, out.parent
    else:
        found, folder = _find(inputs, out, plan), out
        used = set(map(hints_beside, found))
        plan.left_out = [file for file in plan.left_out if file.path not in used]
    place = partial(_place, ignoring_case=bool(found) and _prepare_folder(folder))
    sources = set(map(place, found))
    taken: dict[str, Path] = {}

    def problem_of(output: Path) -> str:
        if place(output) in sources:
            return f"it would be written over {output}, an input; use another folder"
        if place(output) in taken:
            return f"{taken[place(output)]} becomes {output} already; colour them into two folders"
        try:
            return f"{output} is a folder" if output.is_dir() else ""
        except OSError as error:  # such as a name that is too long
            return f"{output} cannot be written: {error.strerror}"

    for source, wanted in sorted(found.items()):
        kept_format, n_pixels = _read_head(source)
        written = format or kept_format or FORMAT_OF.get(wanted.suffix.lower(), "PNG")
        output = _with_suffix_of(wanted, written)
        outputs = [output]
        if comparison:
            ending = COMPARISON_ENDINGS[comparison]
            beside = output.with_name(output.stem + ending)
            # If a.jpg has taken it, a.png becomes a.png_compare.
            is_taken = place(beside) in taken
            outputs.append(output.with_name(output.name + ending) if is_taken else beside)
        if problem := next(filter(None, map(problem_of, outputs)), ""):
            plan.failures[source] = problem
        else:
            plan.pictures.append(PlannedPicture(source, outputs, written, n_pixels))
            taken |= {place(output): source for output in outputs}
    return plan


def _is_file_name(inputs: Sequence[str], out: Path) -> bool:
    """Whether `out` is the name of a single result; refuse it where several need a folder."""
    if out.is_dir():
        return False
    suffix = out.suffix.lower()
    looks_like_file = out.exists() or suffix in SUFFIXES
    if len(inputs) == 1 and Path(inputs[0]).is_file():
        # Not the end of "Foto Nr. 1" or "v1.2".
        return looks_like_file or (suffix[1:].isalnum() and not suffix[1:].isdigit())
    if looks_like_file:
        raise ColorganError(f"-o {out} is the name of a file; for several pictures name a folder")
    return False


def _format_of_name(target: Path, wanted: str) -> str:
    """Return the format of a file that the user named."""
    fitting = {suffix: format for suffix, format in FORMAT_OF.items() if wanted in ("", format)}
    if (suffix := target.suffix.lower()) not in fitting:
        asked = f" and --format {wanted.lower()}" if wanted else ""
        raise ColorganError(
            f"-o {target}{asked}: it should end with {', '.join(fitting)}, or be a folder that "
            "exists"
        )
    return fitting[suffix]


def _prepare_folder(folder: Path) -> bool:
    """Create the folder, check that it can be written to; return whether names ignore case."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".colorgan") as file:
            return Path(file.name).with_name(Path(file.name).name.upper()).exists()
    except OSError as error:
        raise ColorganError(
            f"-o {folder} cannot be written to ({error.strerror}); it should be a folder, new or "
            "your own"
        ) from None


def _find(inputs: Sequence[str], out: Path, plan: Plan) -> dict[Path, Path]:
    """Return the target of each picture, with the source's suffix; add the rest to the plan."""
    found: dict[Path, Path] = {}
    seen: set[Path] = set()
    for text in inputs:
        here: set[Path] = set()
        problem = (
            "no picture there; it should be a picture, a folder of pictures, or a pattern such as "
            "'scans/**/*.tif'"
        )
        try:
            for file, target in _files(text, out) if text else ():
                if file.kind != "left out":
                    problem = ""
                # Not the whole path resolved: a link is a picture of its own.
                place = file.path.parent.resolve() / file.path.name
                if place in seen:  # named twice: the first name counts
                    continue
                # Not yet for this input: what lies in a linked folder is a picture of its own.
                here.add(place)
                if file.kind == "photo":
                    found[file.path] = target
                elif file.kind == "unreadable":
                    plan.failures[file.path] = file.reason
                else:
                    plan.left_out.append(file)
        except OSError as error:
            problem = describe(error)  # such as a name that is too long
        seen |= here
        if problem:
            plan.failures[Path(text or '""')] = problem
    return found


def _files(text: str, out: Path) -> Iterator[tuple[FoundFile, Path]]:
    """Yield what a file, folder or pattern names, and the target of each."""
    path = root = Path(text)
    if path.is_file():
        yield FoundFile(path), out / path.name
        return
    if path.exists() and not path.is_dir():
        yield FoundFile(path, "unreadable", "unreadable: not a regular file"), out
        return
    # A pattern begins with a folder as it is written, whatever characters are in its name.
    while not root.is_dir():
        root = root.parent
    pattern = path.relative_to(root).parts
    results = out.resolve()
    holds_results = root.resolve() in results.parents

    def wanted(path: Path, is_folder: bool) -> bool:
        return _fits(path.relative_to(root).parts, pattern, is_folder)

    for file in find_files(root, wanted=wanted):
        if holds_results and file.path.parent.resolve().is_relative_to(results):
            file = FoundFile(file.path, "left out", "in the folder of the results")
        yield file, out / file.path.relative_to(root)


def _fits(parts: Sequence[str], pattern: Sequence[str], is_folder: bool) -> bool:
    """Whether a pattern fits a path, a folder above it or, for a folder, something below it."""
    if not pattern:
        return True
    if not parts:
        return is_folder
    if pattern[0] == "**":
        rests = (parts[i:] for i in range(len(parts) + 1))
        return any(_fits(rest, pattern[1:], is_folder) for rest in rests)
    is_same = parts[0] == pattern[0] or fnmatch(parts[0], pattern[0])
    return is_same and _fits(parts[1:], pattern[1:], is_folder)


def _read_head(source: Path) -> tuple[str, int]:
    """Return the format to write and the number of pixels; a damaged file is reported when read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with source.open("rb") as file:
                format, n_pixels = decode.read_head(file)
            return WRITTEN_AS.get(format, format), n_pixels
    except Exception:
        # Decoders of damaged files raise nearly anything.
        return "", ANY_SIZE


def _with_suffix_of(target: Path, format: str) -> Path:
    suffix = target.suffix.lower()
    if FORMAT_OF.get(suffix) == format:
        return target
    # A suffix of no picture is part of the name, as in "Foto Nr. 1".
    name = target.stem if suffix in SUFFIXES else target.name
    return target.with_name(name + SUFFIX_OF[format])


def _place(path: Path, ignoring_case: bool) -> str:
    real = os.path.realpath(path)
    return unicodedata.normalize("NFC", real).casefold() if ignoring_case else real
