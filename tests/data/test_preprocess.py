"""The stage preprocess: what is kept, what is left out and why, and what stays when it fails."""

from __future__ import annotations

import errno
import os
import random
import shutil
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from colorgan import io, paths
from colorgan.config import SPACES, SPLITS, Params, SpaceName
from colorgan.data import preprocess as stage
from colorgan.data.arrays import DatasetInfo, open_split, read_info
from colorgan.data.decode import DecodedPhoto, RawPhoto
from colorgan.data.download import download
from colorgan.data.preprocess import Converter, assign_splits, convert_all, preprocess
from colorgan.errors import ColorganError
from colorgan.spaces import get_space
from tiny_project import listing

SAMPLE = paths.DATA / "sample"
SIDE = 32


@pytest.fixture
def run(project: Path, make_params: Callable[..., Params]) -> Callable[..., DatasetInfo]:
    """Return a function that downloads and preprocesses data/sample for a space."""

    def run(space: SpaceName = "lab", **data: object) -> DatasetInfo:
        params = make_params({f"{space}.{name}": value for name, value in data.items()})
        download(params, space)
        return preprocess(params, space)

    return run


@pytest.mark.parametrize("space", SPACES)
def test_photos_become_arrays(write_photos, run, space) -> None:
    write_photos(sea=12, forest=8)
    info = run(space)
    assert info.counts == {"train": 14, "val": 2, "test": 4}
    assert (info.space, info.image_size, info.rejected) == (space, SIDE, 0)
    assert info == read_info(paths.processed(space))
    names = {io.sha256(path)[:16]: path for path in SAMPLE.glob("*/*.webp")}
    for name in SPLITS:
        split = open_split(paths.processed(space), name)
        assert len(split) == len(split.index) == info.counts[name]
        for i, row in enumerate(split.index.itertuples()):
            path = names.pop(row.id)
            assert (row.label, row.source) == (path.parent.name, "sample")
            assert (row.width, row.height) == (40, 36)
            with Image.open(path) as photo:
                square = ImageOps.fit(photo, (SIDE, SIDE), Image.Resampling.BICUBIC)
            input, target = get_space(space).arrays(np.asarray(square))
            assert (split.input[i] == input).all()
            assert (split.target[i] == target).all()
    assert not names
    assert sorted(listing(paths.processed(space))) == sorted(
        ["dataset.json", "index.csv", "rejected.csv"]
        + [f"{split}/{name}.npy" for split in SPLITS for name in ("input", "target")]
    )


def test_what_is_left_out_is_listed_with_its_reason(write_photos, run) -> None:
    names = write_photos(sea=10, bad=4)
    (SAMPLE / "bad/0.webp").write_bytes(b"no picture at all")
    whole = (SAMPLE / "bad/1.webp").read_bytes()
    (SAMPLE / "bad/1.webp").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (15, 90)).save(SAMPLE / "bad/2.webp")
    shutil.copy(SAMPLE / "sea/3.webp", SAMPLE / "bad/3.webp")
    gray = np.tile(np.arange(40, dtype=np.uint8)[:, None, None] * 6, (1, 40, 3))
    gray[..., 0] += 1
    Image.fromarray(gray).save(SAMPLE / "sea/0.webp", lossless=True)
    info = run(min_side=16)
    table = pd.read_csv(paths.processed("lab") / "rejected.csv")
    reasons = dict(zip(table["name"], table["reason"], strict=True))
    for name, start in {
        "bad/0.webp": "unreadable: ",
        "bad/1.webp": "unreadable: ",
        "bad/2.webp": "too small: 15x90, the shorter side under 16 px",
        "sea/0.webp": "near-gray: mean chroma 0.",
        "sea/3.webp": "duplicate: of bad/3.webp",
    }.items():
        assert reasons.pop(name).startswith(start)
    assert reasons == {}
    assert info.rejected == 5
    assert sum(info.counts.values()) + info.rejected == len(names)
    assert run(min_chroma=0.0, min_side=1).rejected == 3


def test_too_many_rejected_stop_the_stage_with_their_reasons(write_photos, run) -> None:
    write_photos(sea=10)
    for i in range(3):
        (SAMPLE / f"sea/{i}.webp").write_bytes(b"")
    Image.new("RGB", (8, 90)).save(SAMPLE / "sea/3.webp")
    with pytest.raises(ColorganError) as refusal:
        run(max_rejected=0.3, min_side=16)
    first, *reasons = str(refusal.value).splitlines()
    assert first.startswith("4 of 10 photos in data/raw/lab are rejected (40%), ")
    assert "lab.max_rejected in params.yaml allows 30%" in first
    assert [reason.split() for reason in reasons] == [["3", "unreadable"], ["1", "too", "small"]]
    assert run(max_rejected=0.4, min_side=16).rejected == 4


def test_processes_make_the_same_arrays(write_photos, make_params, monkeypatch) -> None:
    write_photos(sea=20, forest=3)
    alone = make_params({"runtime.preprocess_workers": 0})
    download(alone, "lab")
    first = preprocess(alone, "lab")
    before = listing(paths.processed("lab"))
    for name, value in (("CHUNK_PHOTOS", 4), ("CHUNK_BYTES", 1)):
        monkeypatch.setattr(stage, name, value)
        assert preprocess(make_params({"runtime.preprocess_workers": 2}), "lab") == first
        assert listing(paths.processed("lab")) == before


def test_a_process_that_dies_is_said_in_a_sentence(project, make_params) -> None:
    with pytest.raises(ColorganError, match="ended abruptly, perhaps for want of memory"):
        convert_all(Converter("lab", make_params().lab.data, Path("scratch")), [Bomb()], 1)


@dataclass(frozen=True)
class Bomb(RawPhoto):
    """A photo that kills the process that decodes it."""

    content: bytes = b"x"
    name: str = "x"

    def decode(self, side: int) -> DecodedPhoto:
        os._exit(9)


@pytest.mark.parametrize("limit", ["CHUNK_PHOTOS", "WAITING_BYTES"])
def test_photos_are_read_as_they_are_converted(make_params, project, monkeypatch, limit) -> None:
    """However many photos there are, few of them are in memory: some chunks a process, or bytes."""
    monkeypatch.setattr(stage, limit, {"CHUNK_PHOTOS": 5, "WAITING_BYTES": 10_000}[limit])
    converter = Converter("lab", make_params().lab.data, Path("scratch"))
    alive: list[weakref.ref[RawPhoto]] = []
    most = 0

    def photos() -> Iterator[RawPhoto]:
        nonlocal most
        for i in range(200):
            photo = RawPhoto(bytes(1000), str(i))
            alive.append(weakref.ref(photo))
            most = max(most, sum(ref() is not None for ref in alive))
            yield photo

    records = convert_all(converter, photos(), 2)
    assert [record.name for record in records] == [str(i) for i in range(200)]
    assert most < {"CHUNK_PHOTOS": 60, "WAITING_BYTES": 16}[limit]


def test_the_digest_names_the_data(write_photos, run) -> None:
    write_photos(sea=10)
    limited = run(limit=5)
    assert sum(limited.counts.values()) == 5
    assert run(limit=5) == limited
    digests = {run().digest, run(test_fraction=0.4).digest, run(image_size=64).digest}
    digests.add(run("rgb").digest)
    write_photos(sea=11)
    digests.add(run().digest)
    assert len(digests) == 5


def test_no_photo_to_train_on(write_photos, run) -> None:
    write_photos(sea=3)
    with pytest.raises(ColorganError, match=r"leaves no photo to train on: of 3 photos 3 were rej"):
        run(min_side=37, max_rejected=1.0)
    assert not list((paths.DATA / "processed").iterdir())


@pytest.mark.parametrize(
    ("place", "failure"),
    [("square", KeyboardInterrupt()), ("_write_arrays", OSError(errno.ENOSPC, "no space left"))],
)
def test_a_failure_leaves_the_last_arrays(write_photos, run, monkeypatch, place, failure) -> None:
    write_photos(sea=8)
    run()
    before = listing(paths.DATA / "processed")
    work = getattr(stage, place)
    calls: list[object] = []

    def fails(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise failure
        return work(*given)

    monkeypatch.setattr(stage, place, fails)
    with pytest.raises(type(failure)):
        run(image_size=64)
    assert listing(paths.DATA / "processed") == before


# The split: fixed, stratified, in exact shares.

Photos = list[tuple[str, str, str]]


def made_up(**labels: int) -> Photos:
    rng = random.Random(0)
    return [
        (label, f"{rng.getrandbits(64):016x}", "") for label, n in labels.items() for _ in range(n)
    ]


@pytest.mark.parametrize("n", [1, 7, 205])
@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0, 0.25), (0.15, 0), (0.05, 0.9)])
def test_shares_are_exact_up_to_rounding(n: int, val: float, test: float) -> None:
    some = made_up(sea=n, forest=40)
    splits = assign_splits(some, val, test)
    for label, count in (("sea", n), ("forest", 40)):
        counts = Counter(s for (of, *_), s in zip(some, splits, strict=True) if of == label)
        assert abs(counts["test"] - count * test) <= 1
        assert abs(counts["val"] - count * val) <= 1.5
    counts = Counter(splits)
    assert abs(counts["test"] - len(some) * test) <= 0.5
    assert bool(counts["val"]) == bool(val)
    assert bool(counts["test"]) == bool(test)


def test_the_order_of_the_photos_does_not_matter() -> None:
    some = made_up(sea=30, forest=20)
    splits = dict(zip(some, assign_splits(some, 0.2, 0.2), strict=True))
    shuffled = random.Random(1).sample(some, len(some))
    assert dict(zip(shuffled, assign_splits(shuffled, 0.2, 0.2), strict=True)) == splits


def test_the_source_keeps_its_own_splits() -> None:
    own: Photos = [("sea", f"{i:03}", "test" if i % 4 == 0 else "") for i in range(100)]
    splits = assign_splits(own, 0.2, 0.5)
    assert all((s == "test") == (photo[2] == "test") for photo, s in zip(own, splits, strict=True))
    # Of the 75 that have none; nothing is drawn for a test there already is.
    assert Counter(splits) == {"test": 25, "val": 15, "train": 60}
