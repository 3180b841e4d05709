"""The source `folder`: pictures of a folder packed unchanged, nothing lost, nothing for ever."""

from __future__ import annotations

import errno
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from colorgan.config import DataParams, Params
from colorgan.data.sources import folder as module
from colorgan.data.sources.parquet import ParquetPhotos
from colorgan.errors import ColorganError

Fetch = Callable[..., ParquetPhotos]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    return path


@pytest.fixture
def data(make_params: Callable[..., Params], home: Path) -> DataParams:
    return make_params({"rgb.source": "folder", "rgb.path": str(home)}).rgb.data


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or path.as_posix().encode())
    return path


@pytest.fixture
def fetched(tmp_path: Path, data: DataParams) -> Fetch:
    def fetch(raw: Path = tmp_path / "raw") -> ParquetPhotos:
        raw.mkdir()
        module.fetch(data, raw)
        return module.open_photos(data, raw)

    return fetch


def test_pictures_are_packed_unchanged_with_their_first_folder_as_label(fetched, home) -> None:
    wanted = ["a b/ü.jpg", "b/c/d/e.png", "b/c.JPeG", "g.h/i.avif", "line\nbreak.tif", 'q"uo,.webp']
    for name in wanted:
        put(home / name, name.encode())
    put(home / os.fsdecode(b"z\xff.jpg"), b"x")  # a name that is no text
    got = list(fetched().read(range(7)))
    assert [one.name for one in got] == [*wanted, "z\ufffd.jpg"]
    assert [one.label for one in got] == ["a b", "b", "b", "g.h", "", "", ""]
    assert [one.content for one in got] == [*(name.encode() for name in wanted), b"x"]


def test_what_is_left_out_is_listed_and_counted(fetched, home, tmp_path, capsys) -> None:
    for name in ("x.jpg", "a/notes.txt", "a/clip.mp4", ".thumbnails/1.jpg"):
        put(home / name)
    assert [photo.name for photo in fetched().read([0])] == ["x.jpg"]
    assert (tmp_path / "raw/ignored.txt").read_text().splitlines() == [
        ".thumbnails\ta hidden folder: .thumbnails",
        "a/clip.mp4\tsuffix not read: .mp4",
        "a/notes.txt\tsuffix not read: .txt",
    ]
    assert ": 2 x suffix not read, 1 x a hidden folder\n" in capsys.readouterr().out


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


def test_packing_holds_a_row_group_at_a_time(fetched, home) -> None:
    for i in range(60):
        put(home / f"{i}.jpg", bytes([i]) * 2_000_000)
    tracemalloc.start()
    fetched()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * module.GROUP_BYTES


def test_files_that_cannot_be_read_are_kept_with_the_reason(fetched, home, monkeypatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PICTURE", 3 << 20)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "secret.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (home / "gone.jpg").symlink_to("nowhere.jpg")
    (home / "empty.jpg").touch()
    os.mkfifo(home / "pipe.jpg")
    put(home / "large.jpg", bytes(5 << 20))
    put(home / "secret.jpg")
    photos = list(fetched().read(range(5)))
    assert {photo.name: photo.problem for photo in photos} == {
        "empty.jpg": "unreadable: the file is empty",
        "gone.jpg": "unreadable: a broken link",
        "large.jpg": "too large: a file of 5 MiB",
        "pipe.jpg": "unreadable: not a regular file",
        "secret.jpg": "unreadable: Permission denied",
    }
    assert len({photo.id for photo in photos}) == 5


def test_a_path_without_pictures_is_named(data, home, tmp_path, monkeypatch) -> None:
    put(home / "a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path, sentence in (
        ("~/pictures", r"/pictures has no pictures \(left out: 1 x suffix not read\): .*\(rgb.pat"),
        (home / "a.txt", "/a.txt is a file: the source `folder` needs a folder of pictures"),
        (home / "b", "/b does not exist: the source `folder` needs a folder of pictures"),
    ):
        with pytest.raises(ColorganError, match=sentence):
            module.fetch(data.model_copy(update={"path": str(path)}), tmp_path)
    with pytest.raises(ColorganError, match="has no photos in it: run the stage download first"):
        module.open_photos(data, home)
