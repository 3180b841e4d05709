"""The source `folder`: pictures of a folder packed unchanged, nothing lost, nothing for ever."""

from __future__ import annotations

import errno
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from colorgan.config import DataParams, Params
from colorgan.data.sources import folder as module
from colorgan.data.sources.parquet import ParquetPhotos
from colorgan.errors import ColorganError

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/sample"
PHOTO = sorted(SAMPLE.glob("bird/*.webp"))[0]


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


def names(photos: ParquetPhotos) -> list[str]:
    return [photo.name for photo in photos.read(range(len(photos)))]


def test_any_format_at_any_depth(fetched: Fetch, home: Path) -> None:
    with Image.open(PHOTO) as image:
        photo = image.convert("RGB")
    wanted = ["a.jpg", "b/c.JPeG", "b/c/d/e.png", "b/c/f.TIF", "g.h/i.avif", "j.bmp", "k.webp"]
    for name in wanted:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(home / name)
    got = list(fetched().read(range(7)))
    assert [one.name for one in got] == sorted(wanted, key=Path)
    assert [one.label for one in got] == ["", "b", "b", "b", "g.h", "", ""]
    assert {one.decode(64).size for one in got if "avif" not in one.name} == {photo.size}


def test_what_is_left_out_is_listed_and_counted(fetched, home, tmp_path, capsys) -> None:
    for name in ("x.jpg", "a/notes.txt", "a/clip.mp4", "README", "._x.jpg", ".thumbnails/1.jpg",
                 "@eaDir/x.jpg/SYNOPHOTO_THUMB_XL.jpg"):  # fmt: skip
        put(home / name)
    assert names(fetched()) == ["x.jpg"]
    assert sorted((tmp_path / "raw/ignored.txt").read_text().splitlines()) == [
        "._x.jpg\ta hidden file",
        ".thumbnails\ta hidden folder: .thumbnails",
        "@eaDir\ta folder of the system: @eaDir",
        "README\tsuffix not read: none",
        "a/clip.mp4\tsuffix not read: .mp4",
        "a/notes.txt\tsuffix not read: .txt",
    ]
    counted = ": 3 x suffix not read, 1 x a hidden file, 1 x a hidden folder, 1 x a folder of the "
    assert counted in capsys.readouterr().out


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


def test_odd_names(fetched: Fetch, home: Path) -> None:
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
        (home, r"/pictures has no pictures \(left out: 1 x suffix not read\): .*\(rgb.path, lab"),
        (home / "a.txt", "/a.txt is a file: the source `folder` needs a folder of pictures"),
        (home / "b", "/b does not exist: the source `folder` needs a folder of pictures"),
    ):
        with pytest.raises(ColorganError, match=sentence):
            module.fetch(data.model_copy(update={"path": str(path)}), tmp_path)
    with pytest.raises(ColorganError, match="has no photos in it: run the stage download first"):
        module.open_photos(data, home)


def test_a_path_from_the_home_folder(data, home, tmp_path, monkeypatch) -> None:
    put(home / "a.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "raw").mkdir()
    module.fetch(data.model_copy(update={"path": "~/pictures"}), tmp_path / "raw")
    assert names(module.open_photos(data, tmp_path / "raw")) == ["a.jpg"]
