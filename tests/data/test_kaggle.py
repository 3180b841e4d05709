"""The Kaggle set, through kagglehub's own client and a server that plays Kaggle."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.config import DataParams, Params
from colorgan.data.decode import RawPhoto
from colorgan.data.sources import SOURCES
from colorgan.data.sources.kaggle import AB, DATASET, LIGHTNESS
from colorgan.errors import ColorganError
from kaggle_server import KaggleServer, layout, npy, zipped
from tiny_project import listing

COUNT = 12


@pytest.fixture(scope="session")
def photos(real_photos: UInt8Array) -> UInt8Array:
    return real_photos[:COUNT]


@pytest.fixture(scope="session")
def files(photos: UInt8Array) -> dict[str, bytes]:
    return layout(photos)


@pytest.fixture
def data(make_params: Callable[..., Params]) -> DataParams:
    return make_params({"lab.source": "kaggle"}).space("lab").data


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache."""
    return tmp_path / "kagglehub"


@pytest.fixture
def server(tmp_path, files, monkeypatch) -> Iterator[KaggleServer]:
    """Kaggle with a small set, to which the client's environment leads."""
    with KaggleServer(zipped(files)) as server:
        server.lead_here(monkeypatch, tmp_path)
        yield server


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An empty folder to fetch into."""
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _refusal(data: DataParams, folder: Path) -> str:
    """Fetch in vain; return the sentence, which must be one line and leave nothing behind."""
    with pytest.raises(ColorganError) as refused:
        SOURCES["kaggle"].fetch(data, folder)
    said = str(refused.value)
    assert "\n" not in said
    assert listing(folder) == {}
    return said


def test_real_client_fetches_the_layout_and_downloads_it_once(
    server, data, raw, files, capsys
) -> None:
    SOURCES["kaggle"].fetch(data, raw)
    assert listing(raw) == files
    assert {(raw / name).stat().st_nlink for name in files} == {1}  # DVC makes them read-only
    said = capsys.readouterr()
    assert said.out == ""
    assert "100%" in said.err
    # As DVC does before it runs a stage again.
    shutil.rmtree(raw)
    raw.mkdir()
    server.log.clear()
    SOURCES["kaggle"].fetch(data, raw)
    assert listing(raw) == files
    assert [asked.path.rpartition("/")[2] for asked in server.log] == ["GetDataset"]


def test_broken_download_goes_on_where_it_broke(server, data, raw) -> None:
    # 3 MB: kagglehub writes by the megabyte.
    large_files = layout(np.random.default_rng(0).integers(0, 256, (20, 224, 224, 3), np.uint8))
    server.archive, server.breaks = zipped(large_files), 2
    SOURCES["kaggle"].fetch(data, raw)
    assert listing(raw) == large_files
    assert server.breaks == 0
    assert any("range" in asked.headers for asked in server.log)


def test_why_there_is_no_download_and_what_to_do(server, data, raw, cache, monkeypatch) -> None:
    folder = cache / "datasets" / DATASET
    server.archive = b"<html>come back later</html>"
    said = _refusal(data, raw)
    assert "kagglehub could not download" in said
    assert f"delete {folder} to have all of it downloaded again" in said
    server.status = 403
    said = _refusal(data, raw)
    for part in ("(403)", "kaggle.com/settings", "~/.kaggle/kaggle.json", "KAGGLE_USERNAME"):
        assert part in said
    # A port that is taken but not listened at refuses for certain.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        said = _refusal(data, raw)
    assert "(Connection refused): check the network and run this again" in said
    assert f"perhaps in {folder}/versions), set COLORGAN_KAGGLE_FOLDER" in said


def test_arrays_on_this_machine_need_no_kaggle(tmp_path, data, raw, files, monkeypatch) -> None:
    own = _write(tmp_path / "own", files)
    monkeypatch.setenv("COLORGAN_KAGGLE_FOLDER", str(own))
    SOURCES["kaggle"].fetch(data, raw)
    assert listing(raw) == files
    (own / AB[0]).unlink()
    with pytest.raises(ColorganError, match=r"/own/ab/ab/ab1.npy cannot be used \(No such file"):
        SOURCES["kaggle"].fetch(data, raw)


def test_a_damaged_cache_is_mended_as_the_sentence_says(server, data, raw, cache, files) -> None:
    SOURCES["kaggle"].fetch(data, raw)
    shutil.rmtree(raw)
    raw.mkdir()
    (there,) = cache.rglob("ab2.npy")
    there.write_bytes(there.read_bytes()[:-1])
    said = _refusal(data, raw)
    assert f"{there} cannot be used (" in said
    shutil.rmtree(said.split("delete ")[1].split(" to have")[0])
    SOURCES["kaggle"].fetch(data, raw)
    assert listing(raw) == files


def test_photos_come_back_within_rounding(data, raw, files, photos) -> None:
    opened = SOURCES["kaggle"].open_photos(data, _write(raw, files))
    assert len(opened) == COUNT
    lab = color.lab8_from_rgb8(photos)
    for row, photo in enumerate(opened.read(range(COUNT))):
        pixels = photo.decode(32)
        assert (pixels.encoding, pixels.size, pixels.image.mode) == ("lab", (64, 64), "RGB")
        np.testing.assert_array_equal(np.asarray(pixels.image), lab[row])
        back = color.rgb8_from_lab8(np.asarray(pixels.image)).astype(int)
        # Half a step of L and of a and b is up to some values of saturated RGB.
        assert np.abs(back - photos[row]).mean() < 1
        assert (photo.name, photo.label, photo.split) == (f"{row:05d}", "", None)
        assert photo.id == RawPhoto(lab[row, ..., 0].tobytes() + lab[row, ..., 1:].tobytes(), "").id


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (LIGHTNESS, npy(np.zeros((COUNT, 64, 64), np.uint8))[:-7], "cannot be used ("),
        (LIGHTNESS, b"hello, world\n" * 9, "cannot be used ("),
        (LIGHTNESS, npy(np.array([print], object), allow_pickle=True), "cannot be used ("),
        (LIGHTNESS, npy(np.zeros((2, 64, 64), "f4")), "cannot be used (it holds float32 (2, 64"),
        (LIGHTNESS, npy(np.zeros((4, 64, 64), "u1")).replace(b"False", b"True "),
         "cannot be used ("),
        (AB[1], npy(np.zeros((4, 32, 64, 2), np.uint8)), "cannot be used (it holds uint8 (4, 32, "
         "64, 2)): it should be an .npy file of uint8 (N, 64, 64, 2)"),
        (LIGHTNESS, npy(np.zeros((COUNT - 1, 64, 64), np.uint8)), "holds 11 photos but "
         "ab/ab/ab1.npy, ab/ab/ab2.npy, ab/ab/ab3.npy together hold 12; each photo should have "),
    ],
)  # fmt: skip
def test_a_wrong_array_is_named(data, raw, files, name, content, sentence) -> None:
    _write(raw, files)
    (raw / name).write_bytes(content)
    with pytest.raises(ColorganError) as refused:
        SOURCES["kaggle"].open_photos(data, raw)
    said = str(refused.value)
    assert f"{raw / name} {sentence}" in said
    assert "should" in said
    assert "\n" not in said
