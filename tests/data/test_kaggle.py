"""The Kaggle set, through kagglehub's own client and a server that plays Kaggle."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colorgan import color
from colorgan.color import UInt8Array
from colorgan.config import DataParams, Params
from colorgan.data.sources import get_source
from colorgan.data.sources.base import content_id
from colorgan.data.sources.kaggle import AB, DATASET, LIGHTNESS, KaggleSource
from colorgan.errors import ColorganError
from kaggle_server import TEST_PORT, KaggleServer, layout, npy, tarred, zipped

ROOT = Path(__file__).parents[2]
NAMES = (LIGHTNESS, *AB)
COUNT = 12


@pytest.fixture(scope="session")
def photos(real_photos: UInt8Array) -> UInt8Array:
    return real_photos[:COUNT]


@pytest.fixture(scope="session")
def files(photos: UInt8Array) -> dict[str, bytes]:
    return layout(photos)


@pytest.fixture(scope="session")
def large_files() -> dict[str, bytes]:
    """20 photos at 224 px, 3 MB: kagglehub writes by the megabyte."""
    pictures = sorted((ROOT / "data" / "sample").glob("*/*.webp"))[::10][:20]
    return layout(np.stack([np.asarray(Image.open(p).resize((224, 224))) for p in pictures]))


@pytest.fixture
def data(make_params: Callable[..., Params]) -> DataParams:
    return make_params({"lab.source": "kaggle"}).space("lab").data


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and credentials that are nobody's."""
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KERNEL_RUN_TYPE", "KAGGLEHUB_VERBOSITY"):
        monkeypatch.delenv(name, raising=False)
    cache = tmp_path / "cache"
    for name, value in {
        "HOME": str(tmp_path),
        "KAGGLE_CONFIG_DIR": str(tmp_path / ".kaggle"),
        "KAGGLE_USERNAME": "nobody",
        "KAGGLE_KEY": "nothing",
        "KAGGLEHUB_CACHE": str(cache),
    }.items():
        monkeypatch.setenv(name, value)
    return cache


@pytest.fixture
def server(
    cache: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[KaggleServer]:
    """Kaggle with a small set, to which the client's environment leads."""
    with KaggleServer(zipped(files)) as server:
        _lead_to(server, monkeypatch)
        yield server


def _lead_to(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)


@contextmanager
def _nobody_listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lead the client to a port that is taken but not listened at: it refuses for certain."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield


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


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _refusal(data: DataParams, folder: Path) -> str:
    """Fetch in vain; return the sentence, which must be one line and leave nothing behind."""
    with pytest.raises(ColorganError) as refused:
        KaggleSource().fetch(data, folder)
    said = str(refused.value)
    assert "\n" not in said
    assert _content(folder) == {}
    return said


# --- the real client -----------------------------------------------------------------------------


def test_real_client_fetches_the_layout(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    files: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    KaggleSource().fetch(data, raw)
    assert _content(raw) == files
    assert any(seen.endswith("datasets.DatasetApiService/GetDataset") for seen in server.seen)
    assert len(server.downloads) == 2  # the call and the address it redirects to
    said = capsys.readouterr()
    assert said.out == ""
    assert "100%" in said.err


def test_real_client_fetches_from_its_test_address(
    cache: Path,
    data: DataParams,
    raw: Path,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        server = KaggleServer(zipped(files), TEST_PORT)
    except OSError as error:
        pytest.skip(f"port {TEST_PORT}, kagglehub's only one for tests, is taken ({error})")
    with server:
        _lead_to(server, monkeypatch)
        KaggleSource().fetch(data, raw)
    assert _content(raw) == files
    assert capsys.readouterr().out == ""


def test_second_fetch_downloads_nothing(
    server: KaggleServer, data: DataParams, raw: Path, files: dict[str, bytes]
) -> None:
    KaggleSource().fetch(data, raw)
    # As DVC does before it runs a stage again.
    shutil.rmtree(raw)
    raw.mkdir()
    server.seen.clear()
    KaggleSource().fetch(data, raw)
    assert _content(raw) == files
    assert server.seen  # it did ask for the current version
    assert server.downloads == []


def test_second_fetch_needs_no_network(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    cache: Path,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    KaggleSource().fetch(data, raw)
    shutil.rmtree(raw)
    raw.mkdir()
    # A later version of which nothing but the folder has come.
    (cache / "datasets" / DATASET / "versions" / "99").mkdir()
    with _nobody_listening(monkeypatch):
        KaggleSource().fetch(data, raw)
    assert _content(raw) == files
    assert "Kaggle cannot be reached" in caplog.text
    assert "versions/3 from an earlier download is used" in caplog.text


def test_raw_files_are_no_links_into_the_cache(
    server: KaggleServer, data: DataParams, raw: Path, cache: Path
) -> None:
    KaggleSource().fetch(data, raw)
    for name in NAMES:
        (raw / name).chmod(0o444)
        assert (raw / name).stat().st_nlink == 1
        assert not (raw / name).is_symlink()
    (there,) = cache.rglob("gray_scale.npy")
    assert there.stat().st_mode & 0o200


@pytest.mark.parametrize("breaks", [1, 2])
def test_broken_download_goes_on_where_it_broke(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    large_files: dict[str, bytes],
    breaks: int,
) -> None:
    server.archive, server.breaks = zipped(large_files), breaks
    KaggleSource().fetch(data, raw)
    assert _content(raw) == large_files
    assert server.breaks == 0
    starts = [int(seen.split("bytes=")[1][:-1]) for seen in server.seen if "bytes=" in seen]
    assert starts
    assert 0 < starts[0] <= len(server.archive) // 2


def test_broken_download_goes_on_in_the_next_run(
    server: KaggleServer, data: DataParams, raw: Path, large_files: dict[str, bytes]
) -> None:
    server.archive, server.breaks = zipped(large_files), 1000
    said = _refusal(data, raw)
    assert "the connection to Kaggle broke" in said
    assert "run it again" in said
    server.breaks = 0
    server.seen.clear()
    KaggleSource().fetch(data, raw)
    assert _content(raw) == large_files
    assert any("bytes=" in seen for seen in server.seen)


def test_wrong_checksum(
    server: KaggleServer, data: DataParams, raw: Path, cache: Path, files: dict[str, bytes]
) -> None:
    server.checksum = "AAAAAAAAAAAAAAAAAAAAAA=="
    said = _refusal(data, raw)
    assert "does not have the checksum" in said
    assert not list(cache.rglob("*.archive"))
    assert not list(cache.rglob("*.npy"))
    server.checksum = ""
    KaggleSource().fetch(data, raw)
    assert _content(raw) == files


@pytest.mark.parametrize("status", [401, 403])
def test_refused_without_credentials(
    server: KaggleServer, data: DataParams, raw: Path, status: int
) -> None:
    server.status = status
    said = _refusal(data, raw)
    assert f"it answers {status}" in said
    for way in ("kaggle.com/settings", "~/.kaggle/kaggle.json", "KAGGLE_USERNAME", "login()"):
        assert way in said


def test_not_found(server: KaggleServer, data: DataParams, raw: Path) -> None:
    server.status = 404
    said = _refusal(data, raw)
    assert f"no data set {DATASET} (it answers 404)" in said
    assert "source" in said


def test_server_at_fault(server: KaggleServer, data: DataParams, raw: Path) -> None:
    server.status = 503
    assert "Kaggle answers 503" in _refusal(data, raw)


def test_no_server(
    cache: Path, data: DataParams, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _nobody_listening(monkeypatch):
        said = _refusal(data, raw)
    assert "Kaggle cannot be reached" in said
    assert "Connection refused" in said
    assert len(said) < 250


def test_credentials_file_that_is_damaged(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "kaggle.json").write_text("{")
    said = _refusal(data, raw)
    assert "kaggle.json" in said
    assert "username and key" in said


def test_without_credentials_it_asks_all_the_same(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.delenv("KAGGLE_USERNAME")
    KaggleSource().fetch(data, raw)
    assert _content(raw) == files


# --- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a disk of some size, or resizes it."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size: str) -> Path:
        remount = "remount," if os.path.ismount(disk) else ""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{remount}size={size}", "tmpfs", str(disk)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
        return disk

    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root alone, on Linux")
    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_disk_that_fills(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    large_files: dict[str, bytes],
    small_disk: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.archive = zipped(large_files)
    disk = small_disk("2m")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(disk))
    said = _refusal(data, raw)  # while it downloads
    assert "the disk is full" in said
    assert str(disk) in said
    small_disk("4m")
    server.seen.clear()
    assert "the disk is full" in _refusal(data, raw)  # while it unpacks
    assert any("bytes=" in seen for seen in server.seen)
    small_disk("16m")
    server.seen.clear()
    KaggleSource().fetch(data, raw)
    assert _content(raw) == large_files
    assert not any("bytes=" in seen for seen in server.seen)


def test_disk_of_the_raw_folder_fills(
    server: KaggleServer,
    data: DataParams,
    large_files: dict[str, bytes],
    small_disk: Callable[[str], Path],
) -> None:
    server.archive = zipped(large_files)
    disk = small_disk("1m")
    with pytest.raises(ColorganError, match="the disk is full") as refused:
        KaggleSource().fetch(data, disk)
    assert str(disk) in str(refused.value)


# --- archives ------------------------------------------------------------------------------------


def test_zip_with_paths_that_leave_the_folder(
    server: KaggleServer, data: DataParams, raw: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    evil = {"../../../../../../evil.npy": b"evil", f"{tmp_path}/evil.npy": b"evil"}
    server.archive = zipped(evil)
    said = _refusal(data, raw)
    assert f"{LIGHTNESS} is missing" in said
    assert "to have it downloaded again" in said
    cached = tmp_path / "cache" / "datasets"
    outside = [p for p in tmp_path.rglob("evil.npy") if not p.is_relative_to(cached / DATASET)]
    assert outside == []


def test_evil_entry_beside_the_layout_reaches_neither_outside_nor_raw(
    server: KaggleServer, data: DataParams, raw: Path, tmp_path: Path, files: dict[str, bytes]
) -> None:
    server.archive = zipped({"../../../../evil.npy": b"evil", **files})
    KaggleSource().fetch(data, raw)
    assert _content(raw) == files
    (evil,) = tmp_path.rglob("evil.npy")
    assert evil.is_relative_to(tmp_path / "cache" / "datasets" / DATASET / "versions")


@pytest.mark.parametrize("name", ["../../../../../../evil.npy", "/{tmp}/evil.npy"])
def test_tar_with_paths_that_leave_the_folder(
    server: KaggleServer,
    data: DataParams,
    raw: Path,
    tmp_path: Path,
    files: dict[str, bytes],
    name: str,
) -> None:
    server.archive = tarred({**files, name.replace("/{tmp}", str(tmp_path)): b"evil"})
    if name.startswith("."):
        said = _refusal(data, raw)
        assert "can make nothing of what it got" in said
        assert "outside the destination" in said
    else:
        # An absolute path is taken for a relative one, as tar does.
        KaggleSource().fetch(data, raw)
        assert _content(raw) == files
    cached = tmp_path / "cache" / "datasets" / DATASET / "versions"
    assert [p for p in tmp_path.rglob("evil.npy") if not p.is_relative_to(cached)] == []


def test_no_archive_at_all(server: KaggleServer, data: DataParams, raw: Path, cache: Path) -> None:
    server.archive = b"<html>come back later</html>"
    said = _refusal(data, raw)
    assert "can make nothing of what it got" in said
    assert f"delete {cache / 'datasets' / DATASET}" in said


def test_damaged_cache_is_seen_and_mended_as_the_sentence_says(
    server: KaggleServer, data: DataParams, raw: Path, cache: Path, files: dict[str, bytes]
) -> None:
    KaggleSource().fetch(data, raw)
    shutil.rmtree(raw)
    raw.mkdir()
    (there,) = cache.rglob("ab2.npy")
    there.write_bytes(there.read_bytes()[:-1])
    said = _refusal(data, raw)
    assert f"{there} is truncated" in said
    shutil.rmtree(said.split("delete ")[1].split(" to have")[0])
    KaggleSource().fetch(data, raw)
    assert _content(raw) == files


# --- the arrays ----------------------------------------------------------------------------------


def test_photos_come_back_within_rounding(
    data: DataParams, raw: Path, files: dict[str, bytes], photos: UInt8Array
) -> None:
    opened = get_source("kaggle").open(data, _write(raw, files))
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
        assert photo.id == content_id(lab[row, ..., 0].tobytes() + lab[row, ..., 1:].tobytes())


def test_photos_need_not_be_square(data: DataParams, raw: Path, photos: UInt8Array) -> None:
    opened = KaggleSource().open(data, _write(raw, layout(photos[:, :40])))
    (photo,) = opened.read([3])
    pixels = photo.decode(32)
    assert pixels.size == pixels.image.size == (64, 40)
    np.testing.assert_array_equal(np.asarray(pixels.image), color.lab8_from_rgb8(photos[3, :40]))


def test_rows_from_all_parts_after_pickling(
    data: DataParams, raw: Path, files: dict[str, bytes], photos: UInt8Array
) -> None:
    opened = KaggleSource().open(data, _write(raw, files))
    content = pickle.dumps(opened)
    assert len(content) < 2000
    rows = [0, 3, 4, 7, 8, 11]  # the first and the last of each part
    lab = color.lab8_from_rgb8(photos)
    read = list(pickle.loads(content).read(rows))
    assert [photo.name for photo in read] == [f"{row:05d}" for row in rows]
    for row, photo in zip(rows, read, strict=True):
        np.testing.assert_array_equal(np.asarray(photo.decode(64).image), lab[row])


def test_reading_is_lazy(data: DataParams, raw: Path, files: dict[str, bytes]) -> None:
    opened = KaggleSource().open(data, _write(raw, files))
    photos = opened.read(range(COUNT))
    next(photos)
    with (raw / AB[-1]).open("r+b") as file:
        file.truncate(200)
    with pytest.raises(ColorganError, match=r"ab3\.npy ends before its photo"):
        list(photos)


def _l(files: dict[str, bytes]) -> UInt8Array:
    return np.frombuffer(files[LIGHTNESS][128:], np.uint8).reshape(COUNT, 64, 64)


def _pickled() -> bytes:
    return npy(np.array([{"a": 1}] * COUNT, dtype=object), allow_pickle=True)


BAD = {
    "truncated": (LIGHTNESS, lambda f: f[LIGHTNESS][:-7], "is truncated: it has"),
    "longer than its header": (AB[1], lambda f: f[AB[1]] + b"more", "is too long"),
    "cut in its header": (AB[0], lambda f: f[AB[0]][:50], "is not an .npy file"),
    "empty": (AB[2], lambda f: b"", "is not an .npy file"),
    "text named .npy": (LIGHTNESS, lambda f: b"hello, world\n" * 9, "is not an .npy file"),
    "a zip named .npy": (LIGHTNESS, lambda f: zipped(f), "is not an .npy file"),
    "a bare pickle": (LIGHTNESS, lambda f: pickle.dumps([1, 2]) * 9, "is not an .npy file"),
    "a header that is no header": (
        AB[0],
        lambda f: f[AB[0]].replace(b"descr", b"((((("),
        "is not an .npy file",
    ),
    "pickled objects": (LIGHTNESS, lambda f: _pickled(), "holds pickled objects, which are never"),
    "floats": (LIGHTNESS, lambda f: npy(_l(f).astype("f4")), f"holds float32 ({COUNT}, 64, 64);"),
    "one channel too many": (
        LIGHTNESS,
        lambda f: npy(np.stack([_l(f)] * 3, -1)),
        f"holds uint8 ({COUNT}, 64, 64, 3);",
    ),
    "nothing": (LIGHTNESS, lambda f: npy(_l(f)[:0]), "holds uint8 (0, 64, 64);"),
    "signed bytes": (AB[0], lambda f: f[AB[0]].replace(b"|u1", b"|i1"), "holds int8"),
    "Fortran order": (
        LIGHTNESS,
        lambda f: f[LIGHTNESS].replace(b"False", b"True "),
        "in Fortran order;",
    ),
    "three chroma channels": (
        AB[0],
        lambda f: npy(np.zeros((4, 64, 64, 3), np.uint8)),
        "holds uint8 (4, 64, 64, 3); it should hold uint8 (N, 64, 64, 2)",
    ),
    "photos of another size": (
        AB[1],
        lambda f: npy(np.zeros((4, 32, 64, 2), np.uint8)),
        "for l/gray_scale.npy holds photos of 64x64",
    ),
    "fewer L than ab": (
        LIGHTNESS,
        lambda f: npy(_l(f)[:-1]),
        f"holds {COUNT - 1} photos but ab/ab/ab1.npy, ab/ab/ab2.npy, ab/ab/ab3.npy together hold "
        f"{COUNT};",
    ),
    "fewer ab than L": (
        AB[0],
        lambda f: npy(np.zeros((1, 64, 64, 2), np.uint8)),
        f"holds {COUNT} photos but",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_array(data: DataParams, raw: Path, files: dict[str, bytes], case: str) -> None:
    name, make, sentence = BAD[case]
    _write(raw, {**files, name: make(files)})
    with pytest.raises(ColorganError) as refused:
        KaggleSource().open(data, raw)
    said = str(refused.value)
    assert sentence in said
    assert "should" in said
    assert "\n" not in said
    # Different lengths are told of the L file, whichever of them is too short.
    assert str(raw / (LIGHTNESS if "photos but" in said else name)) in said


@pytest.mark.parametrize("name", NAMES)
def test_missing_array(data: DataParams, raw: Path, files: dict[str, bytes], name: str) -> None:
    _write(raw, files)
    (raw / name).unlink()
    with pytest.raises(ColorganError, match="is missing; it should be") as refused:
        KaggleSource().open(data, raw)
    assert str(raw / name) in str(refused.value)


def test_pickled_array_is_not_loaded(data: DataParams, raw: Path, files: dict[str, bytes]) -> None:
    """A pickle that would leave a trace."""
    trace = raw / "trace"

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return Path.mkdir, (trace,)  # type: ignore[return-value]

    _write(raw, {**files, LIGHTNESS: npy(np.array([Evil()], dtype=object), allow_pickle=True)})
    with pytest.raises(ColorganError, match="pickled"):
        KaggleSource().open(data, raw)
    assert not trace.exists()


def test_importing_the_source_does_not_import_kagglehub() -> None:
    code = "import sys, colorgan.data.sources.kaggle; sys.exit('kagglehub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
