"""Parquet shards of a split, for processes on many machines: each reads its own shards alone.

::

    data/shards/<space>/
        train-00000-of-00008.parquet     photos 0, 8, 16, ... of the split, in row groups of 64
        train-00001-of-00008.parquet     photos 1, 9, 17, ...

Columns: id and label (text), input (H * W bytes) and target (H * W * C bytes). The schema's
metadata says what they are: version, space, split, image_size, out_channels, photos (those of all
shards together) and digest (that of dataset.json).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from colorgan import io
from colorgan.color import UInt8Array
from colorgan.config import SPLITS
from colorgan.data.arrays import Split, open_split, read_info
from colorgan.data.loader import Batch, stream
from colorgan.errors import ColorganError

VERSION = 1
GROUP_ROWS = 64
"""Photos of a row group: what is written, and read, at once."""
BUFFER_PHOTOS = 1024
"""Photos of the shuffle buffer: 200 MB of LAB at 256 px."""
FIRST_STREAM = 16
"""Random numbers of rank 0; the streams below are those of the loader and the augmentation."""

AGAIN = "write the shards again with `colorgan shard`, or copy them again"
Photos = tuple[UInt8Array, UInt8Array]


def write_shards(folder: Path, split_name: str, out: Path, n_shards: int) -> None:
    """Write a split of the arrays in `folder` as `n_shards` files into `out`, in place of old ones.

    The same arrays make the same bytes (with the same pyarrow); memory does not grow with them.

    Args:
        folder: data/processed/<space>.
        split_name: train, val or test.
        out: a folder of its own; it appears when all shards are whole.
        n_shards: how many files, from 1 to the number of photos.

    Raises:
        ColorganError: the arrays are not what they should be, `out` holds something else, or there
            are fewer photos than shards.
    """
    if split_name not in SPLITS:
        raise ColorganError(f"--split is {split_name}; it should be one of {', '.join(SPLITS)}")
    info, split = read_info(folder), open_split(folder, split_name)
    if not 1 <= n_shards <= len(split):
        raise ColorganError(
            f"--shards is {n_shards}; it should be from 1 to {len(split)}, "
            f"the {split_name} photos of {folder}"
        )
    # The folder is replaced as a whole: what somebody else keeps in it must not go with it.
    if out.exists() and not out.is_dir():
        raise ColorganError(f"{out} (--out) is a file; name a folder of the shards' own")
    shard = re.compile(rf"{split_name}-\d+-of-\d+\.parquet")
    for path in sorted(out.iterdir()) if out.exists() else ():
        if not shard.fullmatch(path.name):
            raise ColorganError(
                f"{out} (--out) holds {path.name}, which is no shard of {split_name}; "
                "name a folder of their own"
            )
    metadata = {
        "version": VERSION,
        "space": info.space,
        "split": split_name,
        "image_size": info.image_size,
        "out_channels": info.out_channels,
        "photos": len(split),
        "digest": info.digest,
    }
    columns = {"id": pa.string(), "label": pa.string(), "input": pa.binary(), "target": pa.binary()}
    schema = pa.schema(columns, {key: str(value) for key, value in metadata.items()})
    with io.folder_aside(out.absolute()) as aside:
        for number in range(n_shards):
            # Every n-th photo: neighbours, which are often alike, come into different shards.
            rows = range(number, len(split), n_shards)
            _write_shard(aside / _name(split_name, number, n_shards), schema, split, rows)


def _name(split_name: str, number: int, n_shards: int) -> str:
    return f"{split_name}-{number:05}-of-{n_shards:05}.parquet"


def _write_shard(path: Path, schema: pa.Schema, split: Split, rows: range) -> None:
    # zstd at level 1 takes a third off photos and is still decoded faster than any GPU trains;
    # statistics and dictionaries of pixels would only cost.
    with pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    ) as writer:
        for start in range(0, len(rows), GROUP_ROWS):
            group = rows[start : start + GROUP_ROWS]
            part = slice(group.start, group.stop, group.step)
            texts = [split.index[name].iloc[part] for name in schema.names[:2]]
            columns = [pa.array(text, pa.string()) for text in texts]
            columns += [_column(split.input[part]), _column(split.target[part])]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _column(photos: UInt8Array) -> pa.Array:
    """Make a binary column of `(N, ...)` without a bytes object a photo."""
    pixels = np.ascontiguousarray(photos).reshape(len(photos), -1)
    offsets = np.arange(len(pixels) + 1, dtype=np.int32) * np.int32(pixels.shape[1])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(pixels)]
    return pa.Array.from_buffers(pa.binary(), len(pixels), buffers)


class ShardBatches:
    """The training batches of one of `world_size` processes: what TrainingBatches is to arrays.

    Batches are `(input (N, H, W), target (N, H, W, C))`, uint8, on the CPU. The process `rank`
    reads shards rank, rank + world_size, ... and no other. All processes have the same number of
    batches, so that none waits for another for ever. Shards, and the row groups in each, come in
    an order, and go through a shuffle buffer, that seed, epoch and rank alone decide; memory is
    that of the buffer and a few row groups.

    Args:
        out: the folder that write_shards wrote.
        split: train, val or test.
        batch_size: photos of a batch of this process.
        seed: as in TrainingBatches.
        rank: number of this process, from 0.
        world_size: how many processes there are; the number of shards is a multiple of it.
        buffer: photos of the shuffle buffer.

    Raises:
        ColorganError: shards are missing, damaged, of another version or of different data, or
            cannot be dealt evenly to the processes; reading an epoch raises it for damaged pixels.
    """

    def __init__(
        self,
        out: Path,
        split: str,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        buffer: int = BUFFER_PHOTOS,
    ) -> None:
        n_shards = _count(out, split)
        if n_shards % world_size:
            raise ColorganError(
                f"{out} has {n_shards} shards for {world_size} processes; write them again with "
                f"--shards {(n_shards // world_size + 1) * world_size}, or another multiple of "
                f"{world_size}, so that each process has as many"
            )
        numbers = range(rank, n_shards, world_size)
        self._paths = [out / _name(split, number, n_shards) for number in numbers]
        first, _ = _footer(self._paths[0])
        own_photos = 0
        for number, path in zip(numbers, self._paths, strict=True):
            metadata, found = _footer(path)
            if metadata != first:
                raise ColorganError(f"{path} is of other data than {self._paths[0].name}: {AGAIN}")
            wanted = len(range(number, int(first["photos"]), n_shards))
            if found != wanted:
                raise ColorganError(f"{path} has {found} photos, it should have {wanted}: {AGAIN}")
            own_photos += found
        self.space, self.digest = first["space"], first["digest"]
        self.image_size, self.out_channels = int(first["image_size"]), int(first["out_channels"])
        # Dealt one by one, to shards and these to ranks: no rank has fewer photos than this.
        self._n_batches = int(first["photos"]) // world_size // batch_size
        self._buffer = min(max(buffer, batch_size), own_photos)
        self._batch_size = batch_size
        self._seed = seed
        self._stream = FIRST_STREAM + 2 * rank

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same for every rank."""
        return self._n_batches

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of epoch `number`, counted from 0."""
        draw = stream(self._seed, number, self._stream)
        left, size = len(self), self._batch_size
        shape = (self._buffer, self.image_size, self.image_size)
        inputs = np.empty(shape, np.uint8)
        targets = np.empty((*shape, self.out_channels), np.uint8)

        def batch(places: NDArray[np.int64]) -> Batch:
            return torch.from_numpy(inputs[places]), torch.from_numpy(targets[places])

        free: NDArray[np.int64] = np.arange(self._buffer)
        for input, target in _read_ahead(self._groups(number)) if left else ():
            start = 0
            while start < len(input):
                places = free[: len(input) - start]
                inputs[places] = input[start : start + len(places)]
                targets[places] = target[start : start + len(places)]
                start, free = start + len(places), free[len(places) :]
                if not len(free):
                    free = torch.randperm(self._buffer, generator=draw)[:size].numpy()
                    yield batch(free)
                    left -= 1
                    if not left:
                        return
        kept = np.setdiff1d(np.arange(self._buffer), free)
        kept = kept[torch.randperm(len(kept), generator=draw).numpy()]
        for start in range(0, left * size, size):
            yield batch(kept[start : start + size])

    def _groups(self, number: int) -> Iterator[Photos]:
        """Yield row groups in the order of an epoch."""
        # Not the buffer's random numbers: this runs in a thread, some way ahead of it.
        draw = stream(self._seed, number, self._stream + 1)
        for shard in torch.randperm(len(self._paths), generator=draw).tolist():
            path = self._paths[shard]
            with _naming(path), _open(path) as file:
                for group in torch.randperm(file.num_row_groups, generator=draw).tolist():
                    # Threads of pyarrow would compete with those of the training.
                    table = file.read_row_group(group, ["input", "target"], use_threads=False)
                    side = self.image_size
                    input = _photos(path, table.column("input"), (side, side))
                    shape = (side, side, self.out_channels)
                    yield input, _photos(path, table.column("target"), shape)


def _read_ahead(groups: Iterator[Photos]) -> Iterator[Photos]:
    """Read the next row group while the present one is used: storage may be far away."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, groups, None)
        while (group := coming.result()) is not None:
            coming = thread.submit(next, groups, None)
            yield group


def _photos(path: Path, column: pa.ChunkedArray, shape: tuple[int, ...]) -> UInt8Array:
    """View a binary column as `(N, *shape)` uint8."""
    array = column.combine_chunks()
    _, starts, pixels = array.buffers()
    offsets = np.frombuffer(starts, np.int32)[array.offset : array.offset + len(array) + 1]
    if array.null_count or (np.diff(offsets) != np.prod(shape)).any():
        raise ColorganError(f"{path} holds photos that are not {shape}: {AGAIN}")
    flat: UInt8Array = np.frombuffer(pixels, np.uint8)[offsets[0] : offsets[-1]]
    return flat.reshape(len(array), *shape)


def _count(out: Path, split: str) -> int:
    """Return how many shards of a split `out` has; require all of them, of one writing."""
    pattern = re.compile(rf"{split}-\d+-of-(\d+)\.parquet")
    listed = [path.name for path in out.iterdir()] if out.is_dir() else []
    found = {name: int(match[1]) for name in listed if (match := pattern.fullmatch(name))}
    if not found:
        raise ColorganError(f"{out} has no shards of {split}: write them with `colorgan shard`")
    n_shards = max(found.values())
    odd = {_name(split, number, n_shards) for number in range(n_shards)} ^ found.keys()
    if odd:
        what = "of another writing" if min(odd) in found else "missing"
        raise ColorganError(f"{out / min(odd)} is {what}: {AGAIN}")
    return n_shards


def _footer(path: Path) -> tuple[dict[str, str], int]:
    """Return the metadata of a shard and its number of photos; require this version."""
    with _naming(path), _open(path) as file:
        found, n_photos = file.schema_arrow.metadata or {}, file.metadata.num_rows
    metadata = {key.decode(): value.decode(errors="replace") for key, value in found.items()}
    version = metadata.get("version", "none")
    if version != str(VERSION):
        raise ColorganError(f"{path} is of version {version}, this code reads {VERSION}: {AGAIN}")
    return metadata, n_photos


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what pyarrow says of a file into a ColorganError that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        # The system's own errors say it themselves: not there, permission denied.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        raise ColorganError(f"{path} is no whole shard ({reason}): {AGAIN}") from None
