"""Parquet shards: what is written, and what each of many processes reads of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from colorgan.color import UInt8Array
from colorgan.data import shards
from colorgan.data.arrays import Split, open_split
from colorgan.data.loader import Batch
from colorgan.data.shards import ShardBatches, write_shards
from colorgan.errors import ColorganError

PAGE = Path(__file__).parents[2] / "docs" / "shards.md"
PHOTOS = 301


@pytest.fixture
def folder(write_arrays: Callable[..., Path]) -> Path:
    return write_arrays("lab", train=PHOTOS, val=20)


@pytest.fixture
def split(folder: Path) -> Split:
    return open_split(folder, "train")


@pytest.fixture
def out(folder: Path, tmp_path: Path) -> Path:
    """Four shards: the first has 76 photos, so two row groups, the others 75."""
    out = tmp_path / "shards"
    write_shards(folder, "train", out, 4)
    return out


def read(
    out: Path, rank: int = 0, ranks: int = 1, epoch: int = 0, seed: int = 1, buffer: int = 32
) -> list[Batch]:
    return list(ShardBatches(out, "train", 8, seed, rank, ranks, buffer).epoch(epoch))


def rows(split: Split, batches: list[Batch]) -> list[int]:
    """Return which photos the batches hold; input and target must be of the same one."""
    known = {input.tobytes(): row for row, input in enumerate(split.input)}
    found = []
    for inputs, targets in batches:
        assert (inputs.dtype, targets.dtype) == (torch.uint8, torch.uint8)
        for input, target in zip(inputs.numpy(), targets.numpy(), strict=True):
            found.append(known[input.tobytes()])
            assert (split.target[found[-1]] == target).all()
    return found


def shard(out: Path, number: int) -> Path:
    return out / f"train-{number:05}-of-00004.parquet"


def refused(act: Callable[[], Any]) -> str:
    with pytest.raises(ColorganError) as refusal:
        act()
    said = str(refusal.value)
    assert "\n" not in said
    return said


# Writing


def test_shards_hold_the_arrays(split: Split, out: Path) -> None:
    assert sorted(out.iterdir()) == [shard(out, number) for number in range(4)]
    for number in range(4):
        file = pq.ParquetFile(shard(out, number))
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert sizes == [64, 76 - 64 if number == 0 else 75 - 64]
        table, own = file.read(), slice(number, None, 4)
        assert table.column("id").to_pylist() == list(split.index["id"][own])
        assert table.column("label").to_pylist() == list(split.index["label"][own])
        for name, array in (("input", split.input), ("target", split.target)):
            pixels = b"".join(table.column(name).to_pylist())
            assert np.array_equal(np.frombuffer(pixels, np.uint8), array[own].ravel())
        metadata = file.schema_arrow.metadata
        assert metadata == {
            b"version": b"1",
            b"space": b"lab",
            b"split": b"train",
            b"image_size": b"32",
            b"out_channels": b"2",
            b"photos": b"301",
            b"digest": b"0" * 64,
        }


def test_the_same_arrays_make_the_same_bytes(folder: Path, out: Path) -> None:
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    write_shards(folder, "train", out, 3)
    assert len(list(out.iterdir())) == 3
    write_shards(folder, "train", out, 4)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_a_write_that_fails_leaves_the_old_shards(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(out.iterdir())

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "_column", full)
    with pytest.raises(OSError, match="No space"):
        write_shards(folder, "train", out, 2)
    assert sorted(out.iterdir()) == before
    assert not list(out.parent.glob(".shards*"))


def test_a_folder_with_other_things_is_not_replaced(folder: Path, out: Path) -> None:
    said = refused(lambda: write_shards(folder, "val", out, 1))
    assert said.startswith(f"{out} (--out) holds {shard(out, 0).name}, which is no shard of val")
    assert shard(out, 0).exists()
    said = refused(lambda: write_shards(folder, "train", folder / "index.csv", 1))
    assert said.startswith(f"{folder / 'index.csv'} (--out) is a file")


@pytest.mark.parametrize("n_shards", [0, PHOTOS + 1])
def test_as_many_shards_as_photos_at_most(folder: Path, tmp_path: Path, n_shards: int) -> None:
    said = refused(lambda: write_shards(folder, "train", tmp_path / "new", n_shards))
    assert said.startswith(f"--shards is {n_shards}; it should be from 1 to {PHOTOS}")


def test_the_command(folder: Path, colorgan: Callable[..., Any]) -> None:
    said = colorgan("shard", "lab", "--shards", "2")
    assert said.out == f"shard lab: 2 shards of train in {Path('data/shards/lab')}\n"
    assert len(ShardBatches(Path("data/shards/lab"), "train", 4, seed=1)) == PHOTOS // 4
    said = colorgan("shard", "lab", "--split", "training")
    assert said.code == 1
    assert said.err == ("colorgan: --split is training; it should be one of train, val, test\n")


# Reading


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("buffer", [1, 32, 1000])
def test_ranks_share_the_photos(split: Split, out: Path, ranks: int, buffer: int) -> None:
    each = [rows(split, read(out, rank, ranks, buffer=buffer)) for rank in range(ranks)]
    n_batches = PHOTOS // ranks // 8
    assert [len(one) for one in each] == [n_batches * 8] * ranks
    assert len(ShardBatches(out, "train", 8, 1, 0, ranks)) == n_batches
    assert len({row for one in each for row in one}) == ranks * n_batches * 8
    for rank, one in enumerate(each):
        assert {row % ranks for row in one} == {rank}


def test_a_rank_opens_no_shard_but_its_own(split: Split, out: Path) -> None:
    before = rows(split, read(out, 1, 2))
    for number in (0, 2):
        shard(out, number).write_bytes(b"")
    assert rows(split, read(out, 1, 2)) == before


def test_the_order_is_that_of_seed_epoch_and_rank(split: Split, out: Path) -> None:
    some = ShardBatches(out, "train", 8, 1, 0, 2, buffer=32)
    orders = [rows(split, list(some.epoch(epoch))) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] == rows(split, read(out, 0, 2, epoch=0))
    assert orders[0] != orders[1]
    assert orders[0] != rows(split, read(out, 0, 2, seed=2))
    # Those left out of the last, incomplete batch are others each time.
    assert set(orders[0]) != set(orders[1])


def test_each_epoch_reads_and_shuffles_anew(split: Split, out: Path, folder: Path) -> None:
    # With a buffer of one batch, which photos come together is the order of reading alone.
    together = [
        [frozenset(rows(split, [batch])) for batch in read(out, epoch=epoch, buffer=8)]
        for epoch in (0, 1)
    ]
    assert together[0] != together[1]
    # With a buffer of all photos, the order is that of the buffer alone, given one row group.
    one = out.parent / "one"
    write_shards(folder, "val", one, 1)
    first, second = (list(ShardBatches(one, "val", 20, 1).epoch(epoch)) for epoch in (0, 1))
    assert not torch.equal(first[0][0], second[0][0])


@pytest.mark.parametrize("buffer", [128, 1000])
def test_photos_are_shuffled_beyond_their_row_group(split: Split, out: Path, buffer: int) -> None:
    order = rows(split, read(out, buffer=buffer))
    assert all(len({row % 4 for row in order[i : i + 64]}) > 1 for i in range(0, 256, 64))
    # A photo's neighbour in the file is hardly ever its neighbour in a batch.
    assert np.mean(np.diff(order) == 4) < 0.1


def test_an_epoch_may_be_left_early_and_its_batches_written_to(split: Split, out: Path) -> None:
    for input, _ in ShardBatches(out, "train", 8, seed=1).epoch(0):
        input.zero_()
        break
    assert rows(split, read(out))


def test_fewer_photos_than_a_batch_are_no_batch(out: Path) -> None:
    some = ShardBatches(out, "train", PHOTOS + 1, seed=1)
    assert len(some) == len(list(some.epoch(0))) == 0


def test_torchs_random_numbers_are_left_alone(out: Path) -> None:
    before = torch.get_rng_state()
    read(out)
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_is_that_of_the_buffer(
    write_arrays: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One large shard is written and read with the memory of a small part of it."""
    side, n_photos = 64, 2048
    folder = write_arrays("lab", train=n_photos, side=side)
    whole = n_photos * side * side * 3
    peaks = []
    monkeypatch.setattr(shards, "_column", _noting(peaks, shards._column))
    tracemalloc.start()
    start = pa.total_allocated_bytes()
    try:
        write_shards(folder, "train", tmp_path / "big", 1)
        assert len(peaks) == 2 * n_photos / 64
        assert max(peaks) - start < whole / 3
        tracemalloc.reset_peak()
        peaks.clear()
        for _ in ShardBatches(tmp_path / "big", "train", 16, seed=1, buffer=64).epoch(0):
            peaks.append(_memory())
    finally:
        tracemalloc.stop()
    assert len(peaks) == n_photos / 16
    assert max(peaks) - start < whole / 3


def _memory() -> int:
    """Return the bytes that numpy and Python had at most, and that pyarrow has now."""
    return tracemalloc.get_traced_memory()[1] + int(pa.total_allocated_bytes())


def _noting(
    peaks: list[int], act: Callable[[UInt8Array], pa.Array]
) -> Callable[[UInt8Array], pa.Array]:
    def noted(photos: UInt8Array) -> pa.Array:
        peaks.append(_memory())
        return act(photos)

    return noted


# What is refused


@pytest.mark.parametrize(("ranks", "wanted"), [(8, 8), (3, 6)])
def test_shards_that_cannot_be_dealt_evenly(out: Path, ranks: int, wanted: int) -> None:
    said = refused(lambda: ShardBatches(out, "train", 8, 1, 0, ranks))
    assert said.startswith(f"{out} has 4 shards for {ranks} processes; write them again with ")
    assert f"--shards {wanted}, or another multiple of {ranks}" in said


def test_a_shard_that_is_cut_short(out: Path) -> None:
    path = shard(out, 2)
    path.write_bytes(path.read_bytes()[:-1000])
    said = refused(lambda: ShardBatches(out, "train", 8, seed=1))
    assert said.startswith(f"{path} is no whole shard (")
    assert said.endswith("write the shards again with `colorgan shard`, or copy them again")


def test_a_shard_with_a_damaged_pixel(out: Path) -> None:
    path = shard(out, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    some = ShardBatches(out, "train", 8, seed=1)
    assert refused(lambda: list(some.epoch(0))).startswith(f"{path} is no whole shard (")


def test_shards_of_another_version(
    out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "VERSION", 2)
    said = refused(lambda: ShardBatches(out, "train", 8, seed=1))
    assert said.startswith(f"{shard(out, 0)} is of version 1, this code reads 2: ")
    pq.write_table(pa.table({"input": [b"1"]}), shard(out, 0))
    said = refused(lambda: ShardBatches(out, "train", 8, seed=1))
    assert said.startswith(f"{shard(out, 0)} is of version none")


def test_shards_that_do_not_belong_together(out: Path, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_shards(folder, "val", other, 3)
    said = refused(lambda: ShardBatches(other, "train", 8, seed=1))
    assert said == f"{other} has no shards of train: write them with `colorgan shard`"

    (other / "val-00001-of-00003.parquet").replace(shard(out, 1))
    said = refused(lambda: ShardBatches(out, "train", 8, seed=1))
    assert said.startswith(f"{shard(out, 1)} is of other data than {shard(out, 0).name}")

    shard(out, 2).replace(shard(out, 1))
    said = refused(lambda: ShardBatches(out, "train", 8, seed=1))
    assert said.startswith(f"{shard(out, 2)} is missing")

    shard(out, 0).replace(out / "train-00000-of-00001.parquet")
    (out / "train-00001-of-00004.parquet").unlink()
    shard(out, 3).unlink()
    said = refused(lambda: ShardBatches(out, "train", 8, seed=1))
    assert said.startswith(f"{out / 'train-00000-of-00001.parquet'} has 76 photos, it should have")


# The page


def test_two_processes_run_the_example_of_the_page(out: Path, tmp_path: Path) -> None:
    """Each photo comes once at most, and all but the last incomplete batch of each process."""
    [script] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [command] = re.findall(r"^python (-m torch\.distributed.*)$", PAGE.read_text(), re.MULTILINE)
    (tmp_path / "train_shards.py").write_text(script, encoding="utf-8")
    arguments = command.replace("data/shards/lab", str(out)).split()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # 150 photos a process, 37 batches of 4.
    assert done.stdout == "2 processes, 37 batches each: 296 photos, 0 of them twice\n"
