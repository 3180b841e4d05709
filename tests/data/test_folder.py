"""The source `folder`: pictures of a folder packed unchanged, nothing lost, nothing for ever."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from colorgan.config import DataParams, Params
from colorgan.data.decode import FORMATS, UnreadablePhoto
from colorgan.data.sources import folder as module
from colorgan.data.sources import get_source
from colorgan.data.sources.parquet import ParquetPhotos
from colorgan.errors import ColorganError

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/sample"
PHOTO = sorted(SAMPLE.glob("bird/*.webp"))[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    return path


@pytest.fixture
def data(make_params: Callable[..., Params], home: Path) -> Callable[..., DataParams]:
    return lambda path=home: make_params({"rgb.source": "folder", "rgb.path": str(path)}).rgb.data


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or path.as_posix().encode())
    return path


@pytest.fixture
def fetched(tmp_path: Path, data: Callable[..., DataParams]) -> Callable[..., ParquetPhotos]:
    def fetch(raw: Path = tmp_path / "raw") -> ParquetPhotos:
        raw.mkdir()
        source = get_source("folder")
        source.fetch(data(), raw)
        photos = source.open(data(), raw)
        assert isinstance(photos, ParquetPhotos)
        return photos

    return fetch


def names(photos: ParquetPhotos) -> list[str]:
    return [photo.name for photo in photos.read(range(len(photos)))]


def test_any_format_at_any_depth(fetched: Callable[..., ParquetPhotos], home: Path) -> None:
    with Image.open(PHOTO) as image:
        photo = image.convert("RGB")
    wanted = ["a.jpg", "b/c.JPeG", "b/c/d/e.png", "b/c/f.TIF", "g.h/i.tiff", "j.bmp", "k.webp"]
    for name in wanted:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(home / name)
    got = list(fetched().read(range(7)))
    assert [one.name for one in got] == sorted(wanted)
    assert [one.label for one in got] == ["", "b", "b", "b", "g.h", "", ""]
    assert {one.decode(64).size for one in got} == {photo.size}


def test_what_is_left_out_is_listed(fetched, home, tmp_path) -> None:
    for name in ("x.jpg", "a/notes.txt", "a/clip.mp4", "README", "._x.jpg", ".git/y.jpg"):
        put(home / name)
    assert names(fetched()) == ["x.jpg"]
    assert (tmp_path / "raw/ignored.txt").read_text().splitlines() == [
        "._x.jpg\thidden",
        ".git/\thidden",
        "README\tnot a picture: no suffix",
        "a/clip.mp4\tnot a picture: .mp4",
        "a/notes.txt\tnot a picture: .txt",
    ]


def test_the_same_photos_are_the_same_bytes(fetched, home, tmp_path) -> None:
    files = ["b/2.jpg", "a/1.jpg", "c.jpg", "b/10.jpg"]
    for name in files:
        put(home / name, name.encode())
    fetched()
    shutil.rmtree(home)
    for name in reversed(files):
        put(home / name, name.encode())
    fetched(tmp_path / "again")
    shard = "photos-00000.parquet"
    assert (tmp_path / "raw" / shard).read_bytes() == (tmp_path / "again" / shard).read_bytes()


def test_files_and_row_groups_are_bounded(fetched, home, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 20_000)
    monkeypatch.setattr(module, "GROUP_BYTES", 5_000)
    monkeypatch.setattr(module, "GROUP_PHOTOS", 8)
    sizes = [100] * 50 + [3_000] * 20 + [9_000] * 3
    for i, size in enumerate(sizes):
        put(home / f"{i:03}.jpg", bytes([i]) * size)
    photos = fetched()
    got = [photo.content for photo in photos.read(range(len(photos)))]
    assert got == [bytes([i]) * size for i, size in enumerate(sizes)]
    shards = sorted((tmp_path / "raw").glob("*.parquet"))
    assert [path.name for path in shards] == [f"photos-{i:05}.parquet" for i in range(len(shards))]
    assert len(shards) == 5
    for path in shards:
        metadata = pq.read_metadata(path)
        assert path.stat().st_size < 40_000
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            assert group.num_rows <= 8
            assert group.num_rows == 1 or group.total_byte_size < 7_000
            assert {group.column(k).compression for k in range(4)} == {"UNCOMPRESSED"}


def test_packing_holds_a_row_group_at_a_time(data, home, tmp_path) -> None:
    for i in range(60):
        put(home / f"{i}.jpg", bytes([i]) * 2_000_000)
    (tmp_path / "raw").mkdir()
    tracemalloc.start()
    get_source("folder").fetch(data(), tmp_path / "raw")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * module.GROUP_BYTES


def problems(photos: ParquetPhotos) -> dict[str, str]:
    found = {}
    for photo in photos.read(range(len(photos))):
        with pytest.raises(UnreadablePhoto) as caught:
            photo.decode(64)
        found[photo.name] = str(caught.value)
    return found


def test_files_that_cannot_be_read_are_kept_with_the_reason(fetched, home, monkeypatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PICTURE", 3 << 20)
    (home / "gone.jpg").symlink_to("nowhere.jpg")
    (home / "round.jpg").symlink_to("round.jpg")
    (home / "empty.jpg").touch()
    os.mkfifo(home / "pipe.jpg")
    put(home / "large.jpg", bytes(5 << 20))
    put(home / "text.jpg", b"a text")
    photos = fetched()
    assert problems(photos) == {
        "empty.jpg": "unreadable: the file is empty",
        "gone.jpg": "unreadable: No such file or directory",
        "large.jpg": "too large: a file of 5 MiB",
        "pipe.jpg": "unreadable: not a regular file",
        "round.jpg": "unreadable: Too many levels of symbolic links",
        "text.jpg": f"unreadable: not a {', '.join(FORMATS)} or HEIC, or a damaged one",
    }
    assert len({photo.id for photo in photos.read(range(6))}) == 6


def test_a_folder_that_cannot_be_listed_stops(data, home, tmp_path, monkeypatch) -> None:
    put(home / "a.jpg")
    put(home / "secret/b.jpg")
    scandir = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ColorganError, match=r"/secret cannot be listed \(Permission denied\): "):
        get_source("folder").fetch(data(), tmp_path)


def test_links_are_followed_once_and_never_round(fetched, home, tmp_path) -> None:
    put(home / "z/in.jpg")
    put(tmp_path / "elsewhere/deep/out.jpg")
    (tmp_path / "elsewhere/back").symlink_to(home)
    (home / "a").symlink_to("z")
    (home / "b").symlink_to(tmp_path / "elsewhere")
    (home / "c").symlink_to(tmp_path / "elsewhere")
    (home / "z/loop").symlink_to(home)
    (home / "z/up").symlink_to("/")
    (home / "file.jpg").symlink_to("z/in.jpg")
    assert names(fetched()) == ["b/deep/out.jpg", "file.jpg", "z/in.jpg"]
    ignored = (tmp_path / "raw/ignored.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in ignored] == ["a", "b/back", "c", "z/loop", "z/up"]


def test_odd_names(fetched: Callable[..., ParquetPhotos], home: Path, tmp_path: Path) -> None:
    for name in ("a b/ü.jpg", "line\nbreak.jpg", 'q"uote,.jpg'):
        put(home / name)
    broken = os.fsencode(home) + b"/\xff.jpg"
    with open(broken, "wb") as file:  # noqa: PTH123 - a name that is no text
        file.write(b"x")
    photos = fetched()
    assert names(photos) == ["a b/ü.jpg", "line\nbreak.jpg", 'q"uote,.jpg', "\ufffd.jpg"]


def test_a_path_without_pictures_is_named(data, home, tmp_path) -> None:
    put(home / "a.txt")
    for path, sentence in (
        (home, r"/pictures has no pictures \(1 other files\): .*\(rgb.path, lab.path\)"),
        (home / "a.txt", "/a.txt is a file: the source `folder` needs a folder of pictures"),
        (home / "b", "/b does not exist: the source `folder` needs a folder of pictures"),
    ):
        with pytest.raises(ColorganError, match=sentence):
            get_source("folder").fetch(data(path), tmp_path)
    with pytest.raises(ColorganError, match="has no photos in it: run the stage download first"):
        get_source("folder").open(data(), home)
