"""Photos to arrays in bulk: chunk by chunk, in as many processes as there are cores.

The photo at position i of a run is always written to row i, so that the result does not depend on
how many processes there are or which is the fastest. A chunk that is done has a table of its own;
a run that was killed goes on with the chunks that have none.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from colorgan import color, io
from colorgan.color import UInt8Array
from colorgan.data.encoded import UnreadablePhoto
from colorgan.data.sources import Photo, PhotoSet, Pixels
from colorgan.errors import ColorganError
from colorgan.spaces import Space, get_space

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 128
"""Photos in a chunk: seconds of work, and 25 MB at 256 px."""
WAITING = 4
"""Chunks handed out ahead for each process, so that a list of millions never waits in memory."""
COLUMNS = ("row", "id", "name", "label", "split", "width", "height", "reason")


@dataclass(frozen=True)
class Conversion:
    """What is done with each photo; sent to every process once.

    Attributes:
        photos: where they are read from.
        space: the space whose arrays are made.
        side: side of the arrays in pixels.
        min_side: shorter sides than this are rejected.
        min_chroma: less mean chroma than this is rejected.
        folder: where arrays and tables go.
    """

    photos: PhotoSet
    space: str
    side: int
    min_side: int
    min_chroma: float
    folder: Path

    @property
    def input_file(self) -> Path:
        """Bare bytes of the inputs, row after row."""
        return self.folder / "input.all"

    @property
    def target_file(self) -> Path:
        """Bare bytes of the targets, row after row."""
        return self.folder / "target.all"

    def table_file(self, first: int) -> Path:
        """Return the table of the chunk whose first row is `first`; it is there when all is."""
        return self.folder / f"chunk-{first:09}.json"

    def convert_chunk(self, first: int, rows: Sequence[int]) -> None:
        """Convert the photos at `rows` of the source into the arrays from row `first` on.

        Written through files, never through a memory map: where the disk is full, a map that is
        written to ends the process without a word.
        """
        space = get_space(self.space)
        shape = (len(rows), self.side, self.side)
        inputs = np.zeros(shape, np.uint8)
        targets = np.zeros((*shape, space.out_channels), np.uint8)
        table: list[dict[str, Any]] = []
        for i, photo in enumerate(self.photos.read(rows)):
            about = self._convert(photo, space, inputs[i], targets[i])
            table.append({"row": first + i, "id": photo.id, "name": photo.name,
                          "label": photo.label, "split": photo.split or "", **about})  # fmt: skip
        for file, arrays in ((self.input_file, inputs), (self.target_file, targets)):
            with file.open("r+b") as out:
                out.seek(first * arrays[0].nbytes)
                out.write(arrays.data)
        io.write_json(self.table_file(first), table)

    def _convert(
        self, photo: Photo, space: Space, input: UInt8Array, target: UInt8Array
    ) -> dict[str, Any]:
        """Fill input and target with a photo, or leave them blank; return what is known of it."""
        width = height = 0
        try:
            pixels = photo.decode(self.side)
            width, height = pixels.size
            if min(pixels.size) < self.min_side:
                raise UnreadablePhoto(
                    f"too small: {width}x{height}, the shorter side under {self.min_side} px"
                )
            cropped = square(pixels, self.side)
            _require_color(cropped, pixels.encoding, self.min_chroma)
            convert = space.arrays_from_lab8 if pixels.encoding == "lab" else space.arrays
            input[:], target[:] = convert(cropped)
            reason = ""
        except UnreadablePhoto as error:
            reason = str(error)
        return {"width": width, "height": height, "reason": reason}


def convert_all(work: Conversion, rows: Sequence[int], n_workers: int) -> pd.DataFrame:
    """Convert the photos at `rows`; return a table with a row each, columns `COLUMNS`.

    Args:
        work: what is done, and where.
        rows: photos of the source, ascending.
        n_workers: processes; 0 converts in this one.

    Raises:
        ColorganError: a process ended abruptly.
    """
    _allocate(work, len(rows))
    firsts = range(0, len(rows), CHUNK)
    left = [first for first in firsts if not work.table_file(first).is_file()]
    if len(left) < len(firsts):
        print(f"going on after {len(firsts) - len(left)} of {len(firsts)} chunks", flush=True)
    chunks = ((first, rows[first : first + CHUNK]) for first in left)
    done = len(firsts) - len(left)
    shown = time.monotonic()
    for _ in _in_processes(work, chunks, n_workers) if n_workers else _here(work, chunks):
        done += 1
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{min(done * CHUNK, len(rows))} of {len(rows)} photos", flush=True)
    # Imported here: the processes that convert start half a second sooner without it.
    import pandas as pd

    tables = [pd.read_json(work.table_file(first), dtype=False) for first in firsts]
    # dtype=False keeps an id like 0012e4 the text it is.
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _allocate(work: Conversion, n: int) -> None:
    """Make the two files, where an earlier run has not; they grow as they are written."""
    work.folder.mkdir(parents=True, exist_ok=True)
    for file in (work.input_file, work.target_file):
        if n and not file.is_file():
            file.touch()


def _here(work: Conversion, chunks: Iterator[tuple[int, Sequence[int]]]) -> Iterator[None]:
    for first, rows in chunks:
        work.convert_chunk(first, rows)
        yield


def _in_processes(
    work: Conversion, chunks: Iterator[tuple[int, Sequence[int]]], n_workers: int
) -> Iterator[None]:
    """Convert chunks in processes; on any failure the others stop before it is passed on."""
    pool = ProcessPoolExecutor(
        n_workers, get_context("spawn"), initializer=_begin, initargs=(work, os.getpid())
    )
    pending: set[Future[None]] = set()
    try:
        for first, rows in chunks:
            pending.add(pool.submit(_convert_chunk, first, rows))
            if len(pending) >= n_workers * WAITING:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        for future in pending:
            yield future.result()
    except BrokenProcessPool:
        raise ColorganError(
            "a process that converts photos ended abruptly, perhaps for want of memory: set "
            "runtime.preprocess_workers in params.yaml to a smaller number and run this again; "
            "it goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_work: Conversion | None = None


def _begin(work: Conversion, parent: int) -> None:
    """Set a process up: Ctrl-C is its parent's to handle, and it never outlives its parent."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _convert_chunk(first: int, rows: Sequence[int]) -> None:
    assert _work is not None
    _work.convert_chunk(first, rows)


def square(pixels: Pixels, side: int) -> UInt8Array:
    """Crop the middle square and resize it, in one step, whatever the three bytes mean."""
    fitted = ImageOps.fit(pixels.image, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(fitted)


def _require_color(photo: UInt8Array, encoding: str, min_chroma: float) -> None:
    """Refuse a near-gray photo; every eighth pixel each way is enough to see it."""
    if not min_chroma:
        return
    some = photo[::8, ::8]
    lab8 = some if encoding == "lab" else color.lab8_from_rgb8(some)
    ab = color.ab_from_uint8(lab8[..., 1:])
    chroma = float(np.hypot(ab[..., 0], ab[..., 1]).mean())
    if chroma < min_chroma:
        raise UnreadablePhoto(f"near-gray: mean chroma {chroma:.2f}, under {min_chroma:g}")
