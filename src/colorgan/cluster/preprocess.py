"""The stage preprocess with its photos converted on all machines of a cluster.

The workers read `data/raw/<space>`, which every machine sees; the command alone writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from colorgan import paths
from colorgan.cluster.session import Item, map_on_cluster, require_everywhere
from colorgan.config import Params, SpaceName
from colorgan.data.arrays import DatasetInfo
from colorgan.data.preprocess import CHUNK_BYTES, Converter, PhotoRecord, preprocess
from colorgan.data.sources import MANIFEST, SOURCES
from colorgan.errors import ColorganError


def preprocess_on_cluster(params: Params, space: SpaceName, workers: int) -> DatasetInfo:
    """Make the arrays of a space, byte for byte those of the local stage.

    ColorganError as `preprocess`, and if a machine does not see the raw photos.
    """
    require_everywhere([paths.raw(space) / MANIFEST])
    return preprocess(params, space, partial(_convert, workers))


def _convert(
    workers: int, converter: Converter, source: str, rows: Sequence[int]
) -> Iterable[PhotoRecord]:
    """Convert photos on the cluster and write them to the scratch file."""
    at_once = max(1, CHUNK_BYTES // sum(converter.row_bytes))
    items = [
        {"first": first, "names": list(rows[first : first + at_once])}
        for first in range(0, len(rows), at_once)
    ]
    arguments = converter, source, paths.raw(converter.space).absolute()
    records: dict[int, PhotoRecord] = {}
    converter.scratch.touch()
    for found in map_on_cluster("preprocess", _Worker, arguments, items, workers):
        for row in found:
            converter.write(row["row"], np.frombuffer(row.pop("pixels"), np.uint8))
            records[row["row"]] = PhotoRecord(**row | {"size": tuple(row["size"])})
    if lost := len(rows) - len(records):
        raise ColorganError(f"{lost} photos killed their workers, perhaps for want of memory")
    return [records[row] for row in sorted(records)]


class _Worker:
    """Converts photos in a process of the cluster."""

    def __init__(self, converter: Converter, source: str, raw: Path) -> None:
        self._converter = converter
        self._photos = SOURCES[source].open_photos(converter.data, raw)

    def __call__(self, item: Item) -> Iterator[Item]:
        """Yield a row for each photo: its record and its pixels."""
        rows = [int(row) for row in item["names"]]
        for number, photo in enumerate(self._photos.read(rows), int(item["first"])):
            pixels, [record] = self._converter.rows(number, [photo])
            yield record._asdict() | {"pixels": pixels.tobytes()}
