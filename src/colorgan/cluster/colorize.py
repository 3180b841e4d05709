"""Colour a collection on all machines of a cluster: from a folder or URI into another one.

What became of each picture is a row of `OUT/_colorgan/manifest`: Parquet files, to which each start
adds, and of which the last row of a picture counts. A second start does what is missing.
"""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from rich.console import Console

from colorgan import io, paths
from colorgan.cluster.session import Item as Row
from colorgan.cluster.session import map_on_cluster, require_everywhere
from colorgan.data.photo_files import SUFFIXES, FoundFile, find_files, why_left_out
from colorgan.errors import ColorganError, describe
from colorgan.inference.backends import load_network
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.files import Options, colorize_files

RUN, MANIFEST = "_colorgan/run.json", "_colorgan/manifest"
SCHEMA = pa.schema([(n, pa.string()) for n in ("input", "output", "status", "reason", "digest")])
SCHEMA = SCHEMA.append(pa.field("seconds", pa.float32()))
COLORED, FAILED, LEFT_OUT = "coloured", "failed", "left out"
PHOTOS_AT_ONCE, BYTES_AT_ONCE = 32, 32 << 20
"""A worker is given so many pictures, or bytes of them, at a time; a kill repeats them."""
SECONDS_BETWEEN_FILES = 20.0


@dataclass(frozen=True)
class Storage:
    """A folder of a file system that all machines share, or of object storage."""

    name: str
    files: fs.FileSystem
    root: str

    @classmethod
    def open(cls, name: str) -> Storage:
        """Open a folder, or a URI such as s3://bucket/photos; ColorganError if it is neither."""
        if "://" not in name:
            return cls(name, fs.LocalFileSystem(), str(Path(name).absolute()))
        with _naming(name):
            return cls(name, *fs.FileSystem.from_uri(name.rstrip("/")))

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one of a file system."""
        return Path(self.root) if self.files.type_name == "local" else None

    def listed(self) -> Iterator[tuple[Path, int]]:
        """Yield the relative path and the size in bytes of each file; none if there is no root."""
        below = fs.FileSelector(self.root, recursive=True, allow_not_found=True)
        for file in self.files.get_file_info(below):
            if file.is_file:
                yield Path(file.path).relative_to(self.root), file.size

    def pictures(self) -> Iterator[tuple[FoundFile, int]]:
        """Yield what `find_files` finds, with relative paths, and each file's size in bytes."""
        for file in find_files(self.folder) if self.folder else ():
            size = file.path.stat().st_size if file.kind == "photo" else 0
            yield replace(file, path=file.path.relative_to(self.root)), size
        for path, size in () if self.folder else self.listed():
            reasons = [why_left_out(folder, True, SUFFIXES) for folder in path.parents[:-1]]
            reason = next(filter(None, [*reasons, why_left_out(path, False, SUFFIXES)]), "")
            yield FoundFile(path, "left out" if reason else "photo", reason), size

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with self.files.open_input_stream(f"{self.root}/{name}") as file:
            content: bytes = file.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        if self.folder:
            with io.file_aside(self.folder / name) as aside:
                aside.write_bytes(content)
        else:
            with self.files.open_output_stream(f"{self.root}/{name}") as file:
                file.write(content)


def colorize_collection(
    source: str, out: str, model: str, options: Options, workers: int
) -> list[Row]:
    """Colour the pictures of a folder or URI into another one, on all machines of the cluster.

    Returns a row for each file of the source, whichever start has coloured it. ColorganError if
    source or out cannot be used, or no worker can go on; what is done stays.
    """
    inputs, results = Storage.open(source), Storage.open(out)
    if f"{results.root}/".startswith(f"{inputs.root}/"):
        raise ColorganError(f"{out} lies in {source}; the results need a folder outside of it")
    load_network(model, "cpu")  # what is wrong with it is said before anything starts
    for place in (paths.model(model), Path(model)):
        if place.exists() and model != paths.PRETRAINED:
            model = str(place.absolute())
    with _naming(source):
        found = list(inputs.pictures())
    if not any(file.kind == "photo" for file, _ in found):
        raise ColorganError(f"{source} holds no picture; it should be a folder or URI of pictures")
    with _naming(out, "written to"):
        before = _begin(results, {"input": source, "model": model, **asdict(options)})
    require_everywhere([p for p in (inputs.folder, results.folder, Path(model)) if p])
    units, rows = _plan(found, before)
    new = [row for row in rows.values() if row != before.get(row["input"])]
    died = "its worker died each time; a second start tries it by itself"
    rows |= {name: _row(name, FAILED, died) for unit in units for name in unit}
    items, arguments = [{"names": unit} for unit in units], (inputs, results, model, options)
    last = time.monotonic()
    try:
        for some in map_on_cluster("colorize", _Worker, arguments, items, workers):
            rows |= {row["input"]: row for row in some}
            new += some
            if time.monotonic() > last + SECONDS_BETWEEN_FILES:
                new, last = _write(results, new), time.monotonic()
        new += [row for row in rows.values() if row["reason"] == died]
    finally:
        _write(results, new)
    # What workers that died have half-written; no worker writes any more.
    for path in results.folder.rglob(".*.part") if results.folder else ():
        path.unlink(missing_ok=True)
    return list(rows.values())


def _begin(results: Storage, run: Row) -> dict[str, Row]:
    """Note in OUT how it is coloured; return the rows of earlier starts by input.

    ColorganError if it holds something else, or was coloured in another way.
    """
    there = {path.as_posix() for path, _ in results.listed()}
    if there and RUN not in there:
        raise ColorganError(
            f"{results.name} holds files of something else, such as {min(there)}; it should be a "
            "new folder, or one that this command has begun"
        )
    if not there:
        results.write(RUN, json.dumps(run, indent=2).encode())
    begun = json.loads(results.read(RUN))
    run = json.loads(json.dumps(run))  # which makes lists of tuples
    for name in [name for name in run if run[name] != begun.get(name)]:
        raise ColorganError(
            f"{results.name} was begun with {name} {begun.get(name)!r}, not {run[name]!r}; finish "
            "it with the same options, or name another folder"
        )
    rows: dict[str, Row] = {}
    for name in sorted(there):
        path = f"{results.root}/{name}"
        if name.endswith(".part"):
            results.files.delete_file(path)  # of a worker that was killed
        elif name.startswith(MANIFEST):
            table = pq.read_table(path, filesystem=results.files)
            rows |= {row["input"]: row for row in table.to_pylist()}
    return {r["input"]: r for r in rows.values() if r["status"] != COLORED or r["output"] in there}


def _plan(
    found: Sequence[tuple[FoundFile, int]], before: dict[str, Row]
) -> tuple[list[list[str]], dict[str, Row]]:
    """Return the pictures to colour, as batches, and the rows of all other files.

    Pictures that might become the same file are in one batch, where `plan_files` sees that. One
    that failed before is in a batch of its own: it may be what kills the workers.
    """
    rows, groups = [], defaultdict(list)
    for file, size in found:
        name = file.path.as_posix()
        if (shown := name.encode("utf-8", "replace").decode()) != name:
            rows.append(_row(shown, FAILED, "its name is not Unicode: rename it"))
        elif file.kind != "photo":
            rows.append(_row(name, FAILED if file.kind == "unreadable" else LEFT_OUT, file.reason))
        else:
            place = unicodedata.normalize("NFC", file.path.with_suffix("").as_posix()).casefold()
            groups[place].append((name, size))
    units: list[list[str]] = []
    free = 0
    for group in groups.values():
        known = [before.get(name, {"status": ""}) for name, _ in group]
        statuses, size = {row["status"] for row in known}, sum(size for _, size in group)
        if statuses == {COLORED}:
            rows += known
            continue
        if not units or size > free or len(units[-1]) >= PHOTOS_AT_ONCE or FAILED in statuses:
            units.append([])
            free = BYTES_AT_ONCE
        units[-1] += [name for name, _ in group]
        free = -1 if FAILED in statuses else free - size
    return units, {row["input"]: row for row in rows}


class _Worker:
    """Colours batches of pictures in a process of the cluster."""

    def __init__(self, inputs: Storage, results: Storage, model: str, options: Options) -> None:
        self._inputs, self._results, self._model = inputs, results, model
        self._options = options
        self._colorizer: Colorizer | None = None

    def __call__(self, unit: dict[str, Any]) -> list[Row]:
        """Return a row for each picture; ColorganError if no other could be coloured or written."""
        start, names = time.monotonic(), [str(name) for name in unit["names"]]
        with _naming("files", "kept aside"), TemporaryDirectory(prefix="colorgan-") as scratch:
            rows = self._color(names, Path(scratch))
        return [row | {"seconds": (time.monotonic() - start) / len(rows)} for row in rows]

    def _color(self, names: Sequence[str], scratch: Path) -> list[Row]:
        sources, targets = scratch / "in", scratch / "out"
        rows: list[Row] = []
        self._colorizer = self._colorizer or Colorizer(load_network(self._model, threads=1))
        for name in names:
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                content = self._inputs.read(name)
            except OSError as error:
                rows.append(_row(name, FAILED, f"unreadable: {describe(error)}"))
            else:
                (sources / name).write_bytes(content)
        if len(rows) == len(names):
            return rows
        console = Console(quiet=True)
        outcome = colorize_files([str(sources)], targets, self._colorizer, self._options, console)
        notes = outcome.notes | outcome.failures
        for source, target in outcome.colored.items():
            output, content = target.relative_to(targets).as_posix(), target.read_bytes()
            with _naming(f"{self._results.name}/{output}", "written"):
                self._results.write(output, content)
            row = _row(source.relative_to(sources).as_posix(), COLORED, notes.pop(source, ""))
            rows.append(row | {"output": output, "digest": hashlib.sha256(content).hexdigest()})
        for source, reason in notes.items():
            name = source.relative_to(sources).as_posix()
            rows.append(_row(name, FAILED, reason.replace(f"{scratch}/", "")))
        return rows


def _write(results: Storage, rows: Sequence[Row]) -> list[Row]:
    """Write rows as a file of the manifest; return those that are left to write, none."""
    if rows:
        table = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), table)
        with _naming(results.name, "written to"):
            results.write(f"{MANIFEST}/{time.time_ns()}.parquet", table.getvalue().to_pybytes())
    return []


def _row(name: str, status: str, reason: str = "") -> Row:
    nothing = {"output": "", "seconds": 0.0, "digest": ""}
    return {"input": name, "status": status, "reason": reason, **nothing}


@contextmanager
def _naming(name: str, doing: str = "read") -> Iterator[None]:
    """Turn errors of a storage into a ColorganError that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ColorganError(f"{name} cannot be {doing}: {describe(error)}") from None
