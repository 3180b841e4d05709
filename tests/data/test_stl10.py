"""The source `stl10`, beside torchvision's own downloader and reader."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import STL10

from colorgan.color import UInt8Array
from colorgan.config import DataParams, Params
from colorgan.data.decode import RawPhoto
from colorgan.data.sources import SOURCES, fetching
from colorgan.errors import ColorganError
from loopback import Loopback, Page
from stl10_archive import packed, stl10_files

COUNTS = {"train": 7, "test": 5, "unlabeled": 6}
ARCHIVE = "/stl10_binary.tar.gz"
PHOTO_BYTES = 27648


@pytest.fixture(scope="session")
def photos() -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (18, 96, 96, 3), np.uint8)


@pytest.fixture(scope="session")
def members(photos: UInt8Array) -> dict[str, bytes]:
    return stl10_files(photos, COUNTS)


@pytest.fixture(scope="session")
def archive(members: Mapping[str, bytes]) -> bytes:
    return packed(members)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def server(archive: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Loopback]:
    """The server with the archive, which the environment names."""
    monkeypatch.setattr(fetching, "PAUSES", (0.01,))
    monkeypatch.setenv("COLORGAN_CACHE", str(tmp_path / "cache"))
    with Loopback() as server:
        server.pages[ARCHIVE] = Page(archive)
        monkeypatch.setenv("COLORGAN_STL10_URL", server.url(ARCHIVE))
        monkeypatch.setenv("COLORGAN_STL10_MD5", md5(archive))
        yield server


@pytest.fixture
def data(make_params: Callable[..., Params]) -> DataParams:
    return make_params({"rgb.source": "stl10"}).rgb.data


def unpacked(members: Mapping[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in members.items():
        (folder / name).write_bytes(content)
    return folder


def fetched(data: DataParams, folder: Path) -> set[str]:
    folder.mkdir()
    SOURCES["stl10"].fetch(data, folder)
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def pixels(photo: RawPhoto) -> UInt8Array:
    decoded = photo.decode(64)
    assert decoded.encoding == "srgb"
    assert decoded.size == decoded.image.size == (96, 96)
    return np.asarray(decoded.image)


def test_agrees_with_torchvision(server, archive, members, photos, data, tmp_path) -> None:
    def sums(files: list[list[str]]) -> list[list[str]]:
        return [[name, md5(members[name])] for name, _ in files]

    class Theirs(STL10):  # type: ignore[misc]
        url = server.url(ARCHIVE)
        tgz_md5 = md5(archive)
        train_list = sums(STL10.train_list)
        test_list = sums(STL10.test_list)

    fetched(data, tmp_path / "ours")
    ours = SOURCES["stl10"].open_photos(data, tmp_path / "ours")
    assert len(ours) == sum(COUNTS.values())
    got = list(ours.read(range(len(ours))))
    read = iter(got)
    for part in COUNTS:
        theirs = Theirs(tmp_path / "theirs", part, download=True)
        assert len(theirs) == COUNTS[part]
        for number, photo in enumerate(itertools.islice(read, len(theirs))):
            image, label = theirs[number]
            np.testing.assert_array_equal(pixels(photo), np.asarray(image))
            assert photo.label == (theirs.classes[label] if part != "unlabeled" else "")
            assert photo.name == f"{part}/{number:05d}"
            assert photo.split == ("test" if part == "test" else None)
    # And both are the photos that went in, upright.
    np.testing.assert_array_equal([pixels(photo) for photo in got], photos)
    assert [photo.name for photo in ours.read([1, 6, 7])] == [got[i].name for i in (1, 6, 7)]
    # What we leave in the raw folder is a root that torchvision can read.
    assert len(Theirs(tmp_path / "ours", "train")) == COUNTS["train"]


@pytest.mark.parametrize("form", ["an archive", "with its top folder", "the files"])
def test_a_copy_on_this_machine_needs_no_download(
    members, data, tmp_path, monkeypatch, form
) -> None:
    own = tmp_path / "own"
    if form == "an archive":
        own.write_bytes(packed(members, "./stl10_binary"))
    else:
        unpacked(members, own if form == "the files" else own / "stl10_binary")
    monkeypatch.setenv("COLORGAN_CACHE", str(tmp_path / "cache"))
    for number, url in enumerate((own.as_uri(), str(own))):
        monkeypatch.setenv("COLORGAN_STL10_URL", url)
        raw = tmp_path / f"raw{number}"
        assert len(fetched(data, raw)) == 6
        assert len(SOURCES["stl10"].open_photos(data, raw)) == sum(COUNTS.values())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train_X.bin", bytes(7 * PHOTO_BYTES - 1), "a positive multiple of 27648"),
        ("train_X.bin", bytes(6 * PHOTO_BYTES), "train_y.bin should hold 6 bytes"),
        ("train_y.bin", bytes([1, 2, 3, 4, 1, 1, 1]), "from 1 to 3, for there are so many classes"),
    ],
)
def test_files_that_are_not_right(members, data, tmp_path, name, content, words) -> None:
    folder = unpacked({**members, name: content}, tmp_path / "stl10_binary")
    with pytest.raises(ColorganError, match=words) as error:
        SOURCES["stl10"].open_photos(data, tmp_path)
    assert str(folder) in str(error.value)
