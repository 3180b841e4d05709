"""Photos to arrays in bulk: decoded, checked, cropped and converted, in several processes.

The photo that a source gives at position i goes to row i of the scratch file, whichever process
converts it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.config import DataParams, SpaceName
from colorgan.data.decode import DecodedPhoto, UnreadablePhoto
from colorgan.data.sources import RawPhoto
from colorgan.errors import ColorganError
from colorgan.spaces import get_space

CHUNK_PHOTOS = 128
CHUNK_BYTES = 16 << 20
"""A process is given so many photos, or bytes of them, at a time."""


class PhotoRecord(NamedTuple):
    """What is known about a photo.

    Attributes:
        row: its row in the scratch file.
        id: its content hash.
        name: where it lies in its source.
        label: its class, or an empty string.
        split: train, val or test; empty while it is not decided.
        size: width and height in pixels before cropping; 0 for an unreadable one.
        reason: why it is rejected; empty if it is kept.
    """

    row: int
    id: str
    name: str
    label: str
    split: str
    size: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class Converter:
    """Converts photos into rows of the scratch file.

    Attributes:
        space: the space whose arrays are made.
        data: size of the arrays, and what is rejected.
        scratch: file of rows of equal length: the bytes of a photo's input, then of its target.
    """

    space: SpaceName
    data: DataParams
    scratch: Path

    @property
    def row_bytes(self) -> tuple[int, int]:
        """Bytes of an input and of a target."""
        n_pixels = self.data.image_size**2
        return n_pixels, n_pixels * get_space(self.space).out_channels

    def convert(self, first: int, photos: Sequence[RawPhoto]) -> list[PhotoRecord]:
        """Write photos to the rows from `first` on; that of a rejected photo is blank."""
        rows = np.zeros((len(photos), sum(self.row_bytes)), np.uint8)
        records = []
        for i, photo in enumerate(photos):
            size, reason = (0, 0), ""
            try:
                decoded = photo.decode(self.data.image_size)
                size = decoded.size
                self._fill(rows[i], decoded)
            except UnreadablePhoto as error:
                reason = str(error)
            about = photo.id, photo.name, photo.label, photo.split or ""
            records.append(PhotoRecord(first + i, *about, size, reason))
        # Not through a memory map: writing to one kills the process when the disk is full.
        with self.scratch.open("r+b") as file:
            file.seek(first * sum(self.row_bytes))
            file.write(rows.data)
        return records

    def _fill(self, row: UInt8Array, photo: DecodedPhoto) -> None:
        """Fill a row with a photo; UnreadablePhoto for one that is too small or near-gray."""
        (width, height), smallest = photo.size, self.data.min_side
        if min(width, height) < smallest:
            raise UnreadablePhoto(
                f"too small: {width}x{height}, the shorter side under {smallest} px"
            )
        cropped = square(photo, self.data.image_size)
        _require_color(cropped, photo.encoding, self.data.min_chroma)
        space = get_space(self.space)
        arrays = space.arrays_from_lab8 if photo.encoding == "lab" else space.arrays
        row[:] = np.concatenate([array.ravel() for array in arrays(cropped)])


def convert_all(
    converter: Converter, photos: Iterable[RawPhoto], n_workers: int
) -> list[PhotoRecord]:
    """Convert photos in `n_workers` processes (0: in this one); return a record for each.

    Raises:
        ColorganError: a process ended abruptly.
    """
    converter.scratch.touch()
    if not n_workers:
        return [r for chunk in _chunks(photos) for r in converter.convert(*chunk)]
    records: list[PhotoRecord] = []
    pending: deque[Future[list[PhotoRecord]]] = deque()
    pool = ProcessPoolExecutor(n_workers, get_context("spawn"), _start_worker)
    try:
        for chunk in _chunks(photos):
            pending.append(pool.submit(converter.convert, *chunk))
            # Not pool.map, which would read all photos at once.
            if len(pending) > 2 * n_workers:
                records += pending.popleft().result()
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


def _chunks(photos: Iterable[RawPhoto]) -> Iterator[tuple[int, list[RawPhoto]]]:
    """Yield photos by the chunk, with the number of the first; say now and then how many."""
    chunk: list[RawPhoto] = []
    first = size = 0
    shown = time.monotonic()
    for photo in photos:
        chunk.append(photo)
        size += len(photo.content)
        if len(chunk) == CHUNK_PHOTOS or size > CHUNK_BYTES:
            yield first, chunk
            first, size, chunk = first + len(chunk), 0, []
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"{first} photos so far", flush=True)
    if chunk:
        yield first, chunk


def _start_worker() -> None:
    """Set a process up: its parent handles Ctrl-C, and it never outlives its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def square(decoded: DecodedPhoto, side: int) -> UInt8Array:
    """Crop the middle square and resize it, in one step, whatever the three bytes mean."""
    return np.asarray(ImageOps.fit(decoded.image, (side, side), Image.Resampling.BICUBIC))


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
