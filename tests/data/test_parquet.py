"""The source `parquet`: files of several writers, read flat, and what is said of wrong ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from colorgan.config import DataParams, Params
from colorgan.data.decode import UnreadablePhoto
from colorgan.data.sources import SOURCES
from colorgan.data.sources.parquet import ParquetPhotos
from colorgan.errors import ColorganError
from tiny_project import listing

ROOT = Path(__file__).parents[2]
SAMPLE = sorted((ROOT / "data/sample").glob("*/*.webp"))
CONTENTS = [path.read_bytes() for path in SAMPLE[:40]]
LABELS = [path.parent.name for path in SAMPLE[:40]]
SPLITS = ["train", "train", "val", "test"] * 10
GOOD = {"webp": CONTENTS[:2], "label": ["a", "b"], "split": ["train", "val"]}


@pytest.fixture
def data(make_params: Callable[..., Params], tmp_path: Path) -> Callable[..., DataParams]:
    """Return a function that makes the parameters of Parquet files in `photos`."""

    def make(path: Path = tmp_path / "photos", **columns: str) -> DataParams:
        changes = {"rgb.source": "parquet", "rgb.path": str(path)}
        changes |= {f"rgb.parquet.{name}_column": column for name, column in columns.items()}
        return make_params(changes).rgb.data

    return make


def write(path: Path, group: int = 16, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def fetched(data: DataParams, raw: Path) -> ParquetPhotos:
    raw.mkdir()
    source = SOURCES["parquet"]
    source.fetch(data, raw)
    photos = source.open_photos(data, raw)
    assert isinstance(photos, ParquetPhotos)
    return photos


def hugging_face(contents: Sequence[bytes | None], labels: list[int], names: list[str]) -> pa.Table:
    images = [{"bytes": content, "path": f"{i}.webp"} for i, content in enumerate(contents)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    return table.replace_schema_metadata(about)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_plain_columns(data: Callable[..., DataParams], tmp_path: Path, kind: pa.DataType) -> None:
    images = pa.array(CONTENTS, kind)
    write(tmp_path / "photos/a.parquet", webp=images, label=LABELS, split=SPLITS)
    photos = list(fetched(data(), tmp_path / "raw").read(range(40)))
    assert [photo.content for photo in photos] == CONTENTS
    assert [photo.label for photo in photos] == LABELS
    assert [photo.split for photo in photos] == SPLITS
    assert [photo.name for photo in photos] == [f"a.parquet:{i}" for i in range(40)]
    with Image.open(SAMPLE[7]) as image:
        assert photos[7].decode(64).size == image.size


def test_the_hugging_face_form(data: Callable[..., DataParams], tmp_path: Path) -> None:
    labels = [i % 3 - 1 for i in range(40)]
    (tmp_path / "photos").mkdir()
    table = hugging_face(CONTENTS, labels, ["cat", "dog"])
    pq.write_table(table, tmp_path / "photos/0.parquet", row_group_size=16)
    wanted = data(image="image", split="")
    photos = list(fetched(wanted, tmp_path / "raw").read(range(40)))
    assert [photo.content for photo in photos] == CONTENTS
    assert [photo.label for photo in photos] == [["", "cat", "dog"][i % 3] for i in range(40)]
    assert {photo.split for photo in photos} == {None}


def test_one_file_without_labels_and_with_other_names_of_splits(data, tmp_path) -> None:
    splits = pa.array(["validation", "valid", "val", "train", "test"]).dictionary_encode()
    file = write(tmp_path / "x/my.parquet", webp=CONTENTS[:5], part=splits)
    write(tmp_path / "x/other.parquet", **GOOD)
    photos = list(fetched(data(file, label="", split="part"), tmp_path / "raw").read(range(5)))
    assert [photo.split for photo in photos] == ["val", "val", "val", "train", "test"]
    assert {photo.label for photo in photos} == {""}
    assert photos[4].name == "my.parquet:4"


def test_files_are_copied_as_they_are_in_order(data, tmp_path) -> None:
    home = tmp_path / "photos"
    for i, name in enumerate(["b.parquet", "a/z.parquet", "c/d/e.PARQUET"]):
        write(home / name, webp=CONTENTS[i : i + 1], label=["x"], split=["train"])
    for name in ("README.md", "._b.parquet"):
        (home / name).write_text("no photos")
    (home / "gone.txt").symlink_to("nowhere")
    (home / "link.parquet").symlink_to("b.parquet")
    photos = fetched(data(), tmp_path / "raw")
    names = ["a/z.parquet", "b.parquet", "c/d/e.PARQUET", "link.parquet"]
    assert [photo.name for photo in photos.read(range(4))] == [f"{name}:0" for name in names]
    assert listing(tmp_path / "raw") == {name: (home / name).read_bytes() for name in names}
    assert not (tmp_path / "raw/link.parquet").is_symlink()


def test_any_rows_can_be_read(data: Callable[..., DataParams], tmp_path: Path) -> None:
    halves = CONTENTS[:25], CONTENTS[25:]
    for name, half in zip("ab", halves, strict=True):
        columns = {"webp": half, "label": ["x"] * len(half), "split": ["train"] * len(half)}
        write(tmp_path / f"photos/{name}.parquet", group=7, **columns)
    photos = fetched(data(), tmp_path / "raw")
    assert len(photos) == 40
    rng = np.random.default_rng(0)
    for _ in range(10):
        rows = sorted(rng.choice(40, rng.integers(1, 40), replace=False).tolist())
        assert [p.content for p in photos.read(rows)] == [CONTENTS[row] for row in rows]
    assert list(photos.read([])) == []


def test_memory_does_not_grow_with_the_photos_nor_with_a_row_group(data, tmp_path) -> None:
    size, n = 500_000, 120
    one = bytes(size)
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos/a.parquet"
    schema = pa.schema([("webp", pa.binary()), ("junk", pa.binary())])
    # A page is the least that can be read; writers end one at 1 MB, looking every so many values.
    options = {"compression": "NONE", "use_dictionary": False, "write_batch_size": 2}
    with pq.ParquetWriter(path, schema, **options) as writer:
        table = pa.Table.from_arrays([pa.array([one] * n)] * 2, schema=schema)
        writer.write_table(table, row_group_size=n)
    del table
    photos = fetched(data(label="", split=""), tmp_path / "raw")
    assert pq.read_metadata(path).num_row_groups == 1
    before, peak = pa.total_allocated_bytes(), 0
    for i, photo in enumerate(photos.read(range(n))):
        assert len(photo.content) == size
        if i % 10 == 0:
            peak = max(peak, pa.total_allocated_bytes() - before)
    assert 0 < peak < n * size / 2


def test_rows_without_a_picture_are_found_at_decoding(data, tmp_path) -> None:
    contents = [CONTENTS[0], None, b"", None]
    columns = {"label": ["x"] * 4, "split": ["train"] * 4}
    write(tmp_path / "photos/a.parquet", webp=contents, **columns)
    photos = list(fetched(data(), tmp_path / "raw").read(range(4)))
    for photo, reason in zip(photos[1:], ("no picture", "the file is", "no picture"), strict=True):
        with pytest.raises(UnreadablePhoto, match=f"^unreadable: {reason}"):
            photo.decode(64)
    assert len({photo.id for photo in photos}) == 4


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"webp": None}, r"/b.parquet has no column 'webp' \(parquet.image_column\); it has label, "
         r"split: name one of them$"),
        ({"label": None}, r"/b.parquet has no column 'label' \(parquet.label_column\); it has "
         r"webp, split: name one of them, or '' for none$"),
        ({"split": None}, r"/b.parquet has no column 'split' \(parquet.split_column\)"),
        ({"webp": ["x", "y"]}, r"/b.parquet: the column 'webp' \(parquet.image_column\) is string; "
         "it should hold the bytes of picture files"),
        ({"webp": [{"path": "x"}] * 2}, r"the column 'webp' \(parquet.image_column\) is struct<"),
        ({"split": [["train"], []]}, r"/b.parquet:0: the column 'split' \(parquet.split_column\) "
         r"has the value \['train'\]; it should be train"),
        ({"split": ["train", "dev"]}, r"/b.parquet:1: the column 'split' \(parquet.split_column\) "
         r"has the value 'dev'; it should be train, val \(or validation\) or test in every row"),
    ],
)  # fmt: skip
def test_a_wrong_column_is_said_with_its_file(data, tmp_path, columns, sentence) -> None:
    changed = {name: value for name, value in (GOOD | columns).items() if value is not None}
    write(tmp_path / "photos/a.parquet", **GOOD)
    write(tmp_path / "photos/b.parquet", **changed)
    with pytest.raises(ColorganError, match=sentence):
        list(fetched(data(), tmp_path / "raw").read(range(4)))


@pytest.mark.parametrize("content", [b"", b"text" * 99, None])
def test_a_file_that_is_no_parquet_is_named(data, tmp_path, content) -> None:
    path = write(tmp_path / "photos/b.parquet", **GOOD)
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    with pytest.raises(ColorganError, match=r"/photos/b.parquet is no whole Parquet file \(.*\): "):
        fetched(data(), tmp_path / "raw")


@pytest.mark.parametrize("name", ["link.parquet", "pipe.parquet"])
def test_a_file_that_cannot_be_read_stops_with_its_name(data, tmp_path, name) -> None:
    bad = write(tmp_path / "photos/a.parquet", **GOOD).with_name(name)
    os.mkfifo(bad) if name == "pipe.parquet" else bad.symlink_to("nowhere")
    with pytest.raises(ColorganError, match=rf"/{name} is unreadable: .*; mend it or move it away"):
        fetched(data(), tmp_path / "raw")


def test_a_path_without_parquet_files_is_named(data, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("x")
    for name, what in (
        ("empty", r"has no .parquet file"),
        ("nowhere", "does not exist"),
        ("x.txt", r"is no .parquet file"),
    ):
        with pytest.raises(ColorganError, match=rf"/{name} {what}: the source `parquet` needs one"):
            SOURCES["parquet"].fetch(data(tmp_path / name), tmp_path / "raw")
