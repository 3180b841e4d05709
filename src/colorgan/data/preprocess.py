"""The stage preprocess: convert photos of data/raw/<space> to the uint8 arrays for training.

1. convert: every photo is decoded, checked and cropped, and becomes a row of a scratch file.
2. split: the photos that were not rejected are divided into train, val and test.
3. copy: the rows of each split go into its arrays, in the order of index.csv.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import write_array_header_1_0
from PIL import Image, ImageOps

from colorgan import color, io, paths
from colorgan.color import UInt8Array
from colorgan.config import SPLITS, DataParams, Params, SpaceName
from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo, read_made
from colorgan.data.decode import DecodedPhoto, RawPhoto, UnreadablePhoto
from colorgan.data.photo_files import batched
from colorgan.data.sources import MANIFEST, SOURCES, Manifest
from colorgan.errors import ColorganError
from colorgan.spaces import get_space

WORTH_PROCESSES = 1000
"""Photos from which on starting processes takes less time than it saves."""
CHUNK_PHOTOS = 128
CHUNK_BYTES = 16 << 20
"""A process is given so many photos, or bytes of them, at a time."""
WAITING_BYTES = 256 << 20
"""So many bytes of photos are read ahead, however many processes there are."""


def preprocess(
    params: Params, space: SpaceName, convert_elsewhere: ConvertElsewhere | None = None
) -> DatasetInfo:
    """Make the arrays of a space; see `colorgan.data.arrays` for what is written.

    `convert_elsewhere` converts photos in another way than processes of this machine. ColorganError
    if there are no raw photos, too many are rejected, or none is left to train on.
    """
    # Imported here: the processes that convert photos do without it.
    from rich.progress import track

    data, raw = params.space(space).data, paths.raw(space)
    source = read_made(raw / MANIFEST, f"download@{space}", Manifest).source
    photos = SOURCES[source].open_photos(data, raw)
    rows: Sequence[int] = range(len(photos))
    if 0 < data.limit < len(rows):
        # The same choice each time.
        rows = sorted(np.random.default_rng(0).permutation(len(rows))[: data.limit].tolist())
    n_workers = params.runtime.preprocess_workers
    if n_workers == "auto":
        n_workers = (os.cpu_count() or 1) if len(rows) >= WORTH_PROCESSES else 0
    # What a kill has left: DVC lets one preprocess of a space run at a time.
    io.remove_asides(paths.processed(space).parent, space)
    with io.folder_aside(paths.processed(space)) as folder:
        converter = Converter(space, data, folder / "scratch")
        if convert_elsewhere:
            found = convert_elsewhere(converter, source, rows)
        else:
            quiet = not sys.stdout.isatty()
            read = track(photos.read(rows), "converting", len(rows), disable=quiet)
            found = convert_all(converter, read, n_workers)
        records = _mark_duplicates(found)
        if len(records) != len(rows):
            raise ColorganError(
                f"{raw} holds {len(rows)} photos, but {len(records)} could be read: run "
                f"`dvc repro -f download@{space}` to fetch them again"
            )
        rejected = [record for record in records if record.reason]
        _check_rejected(len(records), rejected, data, space)
        kept = [record for record in records if not record.reason]
        given = [(r.label, r.id, r.split) for r in kept]
        splits = assign_splits(given, data.val_fraction, data.test_fraction)
        kept = [r._replace(split=split) for r, split in zip(kept, splits, strict=True)]
        kept.sort(key=lambda r: (SPLITS.index(r.split), r.label, r.id))
        counts = Counter(record.split for record in kept)
        if not counts["train"]:
            raise ColorganError(
                f"{raw} leaves no photo to train on: of {len(records)} photos {len(rejected)} were "
                "rejected, the others are all for validation and test"
            )
        for split in counts:
            _write_arrays(converter, [r.row for r in kept if r.split == split], folder / split)
        converter.scratch.unlink()
        index = [(r.id, r.split, r.label, source, *r.size) for r in kept]
        _write_csv(folder / "index.csv", INDEX_COLUMNS, index)
        reasons = [(r.name, r.id, r.reason) for r in rejected]
        _write_csv(folder / "rejected.csv", ("name", "id", "reason"), reasons)
        info = DatasetInfo(
            space=space,
            image_size=data.image_size,
            out_channels=get_space(space).out_channels,
            counts={split: counts[split] for split in SPLITS},
            rejected=len(rejected),
            digest=_digest(folder),
        )
        info.write(folder)
    return info


# 1. Convert.


class PhotoRecord(NamedTuple):
    """What is known about a photo that was converted or rejected."""

    row: int  # in the scratch file
    id: str
    name: str
    label: str
    split: str  # empty while it is not decided
    size: tuple[int, int]  # width and height before cropping; 0 if it is unreadable
    reason: str  # why it is rejected; empty if it is kept


@dataclass(frozen=True)
class Converter:
    """Converts photos into rows of the scratch file."""

    space: SpaceName
    data: DataParams
    scratch: Path  # rows of equal length: the bytes of a photo's input, then of its target

    @property
    def row_bytes(self) -> tuple[int, int]:
        """Bytes of an input and of a target."""
        n_pixels = self.data.image_size**2
        return n_pixels, n_pixels * get_space(self.space).out_channels

    def convert(self, first: int, photos: Sequence[RawPhoto]) -> list[PhotoRecord]:
        """Write photos to the rows from `first` on; return a record for each."""
        rows, records = self.rows(first, photos)
        self.write(first, rows)
        return records

    def rows(self, first: int, photos: Sequence[RawPhoto]) -> tuple[UInt8Array, list[PhotoRecord]]:
        """Return the rows of photos, that of a rejected photo blank, and a record for each."""
        rows = np.zeros((len(photos), sum(self.row_bytes)), np.uint8)
        records = []
        for i, photo in enumerate(photos):
            size, reason = (0, 0), ""
            try:
                decoded = photo.decode(self.data.image_size)
                size = decoded.size
                rows[i] = self._row(decoded)
            except UnreadablePhoto as error:
                reason = str(error)
            about = photo.id, photo.name, photo.label, photo.split or ""
            records.append(PhotoRecord(first + i, *about, size, reason))
        return rows, records

    def write(self, first: int, rows: UInt8Array) -> None:
        """Write rows to their place in the scratch file."""
        # Not through a memory map: writing to one kills the process when the disk is full.
        with self.scratch.open("r+b") as file:
            file.seek(first * sum(self.row_bytes))
            file.write(rows.data)

    def _row(self, photo: DecodedPhoto) -> UInt8Array:
        """Return the bytes of a row; UnreadablePhoto if the photo is too small or near-gray."""
        (width, height), smallest = photo.size, self.data.min_side
        if min(width, height) < smallest:
            raise UnreadablePhoto(
                f"too small: {width}x{height}, the shorter side under {smallest} px"
            )
        cropped = square(photo, self.data.image_size)
        is_lab = photo.encoding == "lab"
        if self.data.min_chroma:
            some = cropped[::8, ::8]  # enough to see whether it is near-gray
            lab8 = some if is_lab else color.lab8_from_rgb8(some)
            ab = lab8[..., 1:].astype(np.float32) - color.AB_OFFSET
            chroma = float(np.hypot(ab[..., 0], ab[..., 1]).mean())
            if chroma < self.data.min_chroma:
                raise UnreadablePhoto(
                    f"near-gray: mean chroma {chroma:.2f}, under {self.data.min_chroma:g}"
                )
        space = get_space(self.space)
        arrays = space.arrays_from_lab8(cropped) if is_lab else space.arrays(cropped)
        return np.concatenate([array.ravel() for array in arrays])


ConvertElsewhere = Callable[[Converter, str, Sequence[int]], Iterable[PhotoRecord]]
"""Given a converter, the name of a source and rows of its photos, fills the scratch file."""


def square(photo: DecodedPhoto, side: int) -> UInt8Array:
    """Crop the middle square and resize it, in one step, whatever the three bytes mean."""
    return np.asarray(ImageOps.fit(photo.image, (side, side), Image.Resampling.BICUBIC))


def convert_all(
    converter: Converter, photos: Iterable[RawPhoto], n_workers: int
) -> list[PhotoRecord]:
    """Convert photos in `n_workers` processes (0: in this one); return their records in order."""
    converter.scratch.touch()
    most_pending = 2 * n_workers + 1
    most_bytes = min(CHUNK_BYTES, WAITING_BYTES // most_pending)
    chunks = batched(photos, CHUNK_PHOTOS, most_bytes, lambda photo: len(photo.content))
    records: list[PhotoRecord] = []
    if not n_workers:
        for chunk in chunks:
            records += converter.convert(len(records), chunk)
        return records
    pending: deque[Future[list[PhotoRecord]]] = deque()
    first = 0
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), _start_worker)
    try:
        for chunk in chunks:
            # Not pool.map, which would read all photos at once.
            if len(pending) == most_pending:
                records += pending.popleft().result()
            pending.append(pool.submit(converter.convert, first, chunk))
            first += len(chunk)
        for future in pending:
            records += future.result()
    except BrokenProcessPool:
        raise ColorganError(
            "a process that converts photos ended abruptly, perhaps for want of memory: set "
            "runtime.preprocess_workers in params.yaml to a smaller number and run this again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
    return records


def _start_worker() -> None:
    """Set up a worker process: its parent handles Ctrl-C, and it never outlives its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _mark_duplicates(records: Iterable[PhotoRecord]) -> list[PhotoRecord]:
    """Give a reason to photos with the same content as an earlier one that is kept."""
    kept: dict[str, PhotoRecord] = {}
    marked = []
    for record in records:
        first = record if record.reason else kept.setdefault(record.id, record)
        if first is not record:
            record = record._replace(reason=f"duplicate: of {first.name}")
        marked.append(record)
    return marked


def _check_rejected(
    n_photos: int, rejected: Sequence[PhotoRecord], data: DataParams, space: SpaceName
) -> None:
    """Stop if more is rejected than is allowed, with a table of the reasons."""
    share = len(rejected) / max(n_photos, 1)
    if share <= data.max_rejected and n_photos:
        return
    kinds = Counter(record.reason.split(":")[0] for record in rejected)
    listed = "".join(f"\n{count:>8}  {kind}" for kind, count in kinds.most_common())
    raise ColorganError(
        f"{len(rejected)} of {n_photos} photos in {paths.raw(space)} are rejected ({share:.0%}), "
        f"{space}.max_rejected in params.yaml allows {data.max_rejected:.0%}: mend the photos, or "
        f"raise it (see also {space}.min_side, {data.min_side} px, and {space}.min_chroma, "
        f"{data.min_chroma:g}); the reasons:{listed}"
    )


# 2. Split.


def assign_splits(
    photos: Sequence[tuple[str, str, str]], val_fraction: float, test_fraction: float
) -> list[str]:
    """Return the split of each photo, given as (label, id, split of the source or "").

    A split that the source has is left as it is; the others are drawn from the photos without
    one: ordered by label and content hash, every k-th photo is taken. That gives each label its
    share, up to rounding, and the same photos in any order of the source.
    """
    given = {split for _, _, split in photos}
    order = sorted((i for i, photo in enumerate(photos) if not photo[2]), key=lambda i: photos[i])
    drawn: dict[int, str] = {}
    left = 1.0
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if name not in given:
            share = fraction / left
            # Rounded so that each stretch of the order gives its share.
            n_taken = [math.floor(k * share + 0.5) for k in range(len(order) + 1)]
            taken = {i for k, i in enumerate(order) if n_taken[k + 1] > n_taken[k]}
            drawn |= dict.fromkeys(taken, name)
            order = [i for i in order if i not in taken]
            left -= fraction
    return [split or drawn.get(i, "train") for i, (_, _, split) in enumerate(photos)]


# 3. Copy.


def _write_arrays(converter: Converter, rows: Sequence[int], folder: Path) -> None:
    """Write input.npy and target.npy of a split from rows of the scratch file.

    Photo by photo, and not through memory maps: their pages would count as this process's memory.
    """
    folder.mkdir()
    n_input, n_target = converter.row_bytes
    shape = (len(rows), converter.data.image_size, converter.data.image_size)
    for name, start, size, whole in (
        ("input", 0, n_input, shape),
        ("target", n_input, n_target, (*shape, n_target // n_input)),
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": whole}
        with converter.scratch.open("rb") as scratch, (folder / f"{name}.npy").open("wb") as file:
            write_array_header_1_0(file, header)
            for row in rows:
                scratch.seek(row * (n_input + n_target) + start)
                file.write(scratch.read(size))


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _digest(folder: Path) -> str:
    """Return one SHA-256 over the arrays and the index."""
    together = hashlib.sha256()
    for path in sorted([*folder.glob("*/*.npy"), folder / "index.csv"]):
        name = path.relative_to(folder).as_posix()
        together.update(f"{name} {io.sha256(path)}\n".encode())
    return together.hexdigest()
