"""Downloads from a server with faults, and archives with traps."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from colorgan.data.fetching import cache_folder, extract_members, fetch_file

from colorgan.data import fetching
from colorgan.errors import ColorganError
from loopback import Asked, Loopback, Page

CONTENT = np.random.default_rng(0).bytes(1_000_000)
OTHER = np.random.default_rng(1).bytes(1_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01, 0.01))
    with Loopback() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def listing(path: Path) -> set[str]:
    """The files beside `path`, but for the lock."""
    return {file.name for file in path.parent.iterdir() if file.suffix != ".lock"}


def refusal(server: Loopback, path: Path, **sums: str) -> str:
    """The sentence that fetching /file ends with; no file has the final name."""
    with pytest.raises(ColorganError) as error:
        fetch_file(server.url("/file"), path, **sums)
    sentence = str(error.value)
    assert server.url("/file") in sentence
    assert "\n" not in sentence
    assert not path.exists()
    return sentence


def test_whole_and_only_once(server: Loopback, path: Path, capsys: pytest.CaptureFixture) -> None:
    server.pages["/file"] = Page(CONTENT)
    assert fetch_file(server.url("/file"), path, md5=MD5, sha256=SHA256.upper()) == path
    assert path.read_bytes() == CONTENT
    assert listing(path) == {"file.bin"}
    assert capsys.readouterr().err == f"downloading {server.url('/file')} (1.0 MB)\n"
    assert fetch_file(server.url("/file"), path, md5=MD5) == path
    assert len(server.log) == 1
    assert capsys.readouterr().err == ""


def test_a_file_that_is_damaged_is_fetched_again(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(CONTENT)
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    fetch_file(server.url("/file"), path, md5=MD5)
    assert path.read_bytes() == CONTENT


def test_a_broken_connection_is_continued(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(CONTENT, breaks=1, breaks_after=500_000)
    fetch_file(server.url("/file"), path, md5=MD5)
    assert path.read_bytes() == CONTENT
    first, second = server.log
    assert "range" not in first.headers
    have = int(second.headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 400_000 < have <= 500_000
    assert second.headers["if-range"]


def test_a_later_call_continues(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(CONTENT, breaks=4, breaks_after=200_000)
    assert "it tried 4 times, and continues after" in refusal(server, path, md5=MD5)
    assert listing(path) == {"file.bin.part", "file.bin.part.json"}
    kept = (path.parent / "file.bin.part").stat().st_size
    fetch_file(server.url("/file"), path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert len(server.log) == 5
    assert server.log[-1].headers["range"] == f"bytes={kept}-"
    assert listing(path) == {"file.bin"}


def test_progress_earns_further_tries(
    server: Loopback, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pages["/file"] = Page(CONTENT, breaks=6, breaks_after=140_000)
    monkeypatch.setattr(fetching, "WORTHWHILE", 100_000)
    fetch_file(server.url("/file"), path, md5=MD5)
    assert len(server.log) == 7


def test_last_modified_will_do(server: Loopback, path: Path) -> None:
    headers = {"Last-Modified": "Mon, 23 Nov 2015 05:33:22 GMT"}
    server.pages["/file"] = Page(
        CONTENT, etag='W/"weak"', breaks=1, breaks_after=500_000, headers=headers
    )
    fetch_file(server.url("/file"), path, md5=MD5)
    assert server.log[1].headers["if-range"] == headers["Last-Modified"]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("page", [{"ranges": False}, {"etag": ""}])
def test_a_server_that_cannot_continue(server: Loopback, path: Path, page: dict) -> None:
    server.pages["/file"] = Page(CONTENT, breaks=1, breaks_after=500_000, **page)
    fetch_file(server.url("/file"), path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert len(server.log) == 2


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_is_not_stitched(server: Loopback, path: Path, heeds: bool) -> None:
    first = Page(OTHER, breaks=1, breaks_after=500_000)
    second = Page(CONTENT, heeds_if_range=heeds)
    server.pages["/file"] = lambda asked: first if len(server.log) == 1 else second
    # Without a checksum: the bytes must be right by themselves.
    fetch_file(server.url("/file"), path)
    assert path.read_bytes() == CONTENT
    assert server.log[1].headers["range"]


def test_a_file_that_shrank_begins_anew(server: Loopback, path: Path) -> None:
    first = Page(OTHER, breaks=1, breaks_after=500_000)
    second = Page(CONTENT[:1000], heeds_if_range=False)
    server.pages["/file"] = lambda asked: first if len(server.log) == 1 else second
    fetch_file(server.url("/file"), path)
    assert path.read_bytes() == CONTENT[:1000]


def test_a_part_of_another_address_is_not_used(server: Loopback, path: Path) -> None:
    server.pages["/old"] = Page(OTHER, etag='"same"', breaks=4, breaks_after=200_000)
    server.pages["/file"] = Page(CONTENT, etag='"same"')
    with pytest.raises(ColorganError):
        fetch_file(server.url("/old"), path)
    fetch_file(server.url("/file"), path)
    assert path.read_bytes() == CONTENT


def test_a_whole_part_is_only_renamed(server: Loopback, path: Path) -> None:
    """The process was killed between the last byte and the final name."""
    server.pages["/file"] = Page(CONTENT, breaks=4, breaks_after=200_000)
    refusal(server, path)
    (path.parent / "file.bin.part").write_bytes(CONTENT)
    asked = len(server.log)
    fetch_file(server.url("/file"), path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert len(server.log) == asked


def test_wrong_checksum(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(OTHER)
    sentence = refusal(server, path, md5=MD5)
    assert f"md5 is {hashlib.md5(OTHER).hexdigest()} and should be {MD5}" in sentence
    assert "run the same command again" in sentence
    assert listing(path) == set()
    assert f"should be {SHA256}" in refusal(server, path, sha256=SHA256)
    # Nothing of the wrong file is left in the right one.
    server.pages["/file"] = Page(CONTENT)
    fetch_file(server.url("/file"), path, md5=MD5, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_gzip_label_does_not_unpack(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(CONTENT, headers={"Content-Encoding": "gzip"})
    fetch_file(server.url("/file"), path, md5=MD5)
    assert server.log[0].headers["accept-encoding"] == "identity"


def test_a_redirect_is_followed(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(status=302, headers={"Location": "/there"})
    server.pages["/there"] = Page(CONTENT, breaks=1, breaks_after=500_000)
    fetch_file(server.url("/file"), path, md5=MD5)
    assert server.log[-1].headers["range"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "answered 401 Unauthorized: the server refuses"),
        (403, "answered 403 Forbidden: the server refuses to give the file out"),
        (404, "answered 404 Not Found: check the address"),
        (500, "answered 500 Internal Server Error: try again later"),
        (503, "answered 503 Service Unavailable: try again later"),
    ],
)
def test_refusals(server: Loopback, path: Path, status: int, words: str) -> None:
    server.pages["/file"] = Page(b"<html>no</html>", status=status)
    assert words in refusal(server, path)
    assert len(server.log) == 1
    assert listing(path) == set()


def test_a_refused_connection(server: Loopback, path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
    with pytest.raises(ColorganError) as error:
        fetch_file(url, path)
    assert str(error.value).startswith(f"{url} could not be downloaded (Connection refused)")
    assert "\n" not in str(error.value)


def test_a_server_that_says_nothing(
    server: Loopback, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", (1.0, 0.1))
    silence = threading.Event()

    def wait(asked: Asked) -> Page:
        silence.wait(10)
        return Page(CONTENT)

    server.pages["/file"] = wait
    assert "timed out" in refusal(server, path)
    silence.set()


@pytest.mark.parametrize("url", ["file.bin", "ftp://127.0.0.1/file", "http://", "http://[::1"])
def test_an_address_that_is_none(path: Path, url: str) -> None:
    with pytest.raises(ColorganError) as error:
        fetch_file(url, path)
    assert str(error.value).startswith(f"{url!r} cannot be downloaded")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root can mount a small disk, on Linux")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(server: Loopback, small_disk: Path) -> None:
    server.pages["/file"] = Page(CONTENT)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(400_000))
    path = small_disk / "file.bin"
    with pytest.raises(OSError, match="No space left") as error:
        fetch_file(server.url("/file"), path, md5=MD5)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(path.with_name("file.bin.part"))
    assert listing(path) == {"ballast", "file.bin.part", "file.bin.part.json"}
    ballast.unlink()
    fetch_file(server.url("/file"), path, md5=MD5)
    assert path.read_bytes() == CONTENT
    assert int(server.log[1].headers["range"][6:-1]) > 400_000


def test_two_at_once_fetch_one_file(server: Loopback, path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(asked: Asked) -> Page:
        begun.set()
        go_on.wait(5)
        return Page(CONTENT)

    server.pages["/file"] = slow
    script = (
        "import sys; from pathlib import Path; from colorgan.data.fetching import fetch_file;"
        f"fetch_file({server.url('/file')!r}, Path({str(path)!r}), md5={MD5!r})"
    )
    mine = threading.Thread(target=fetch_file, args=(server.url("/file"), path))
    mine.start()
    assert begun.wait(5)
    other = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert other.stderr
    assert "waiting for another process" in other.stderr.readline()
    go_on.set()
    mine.join(10)
    assert other.wait(20) == 0
    other.stderr.close()
    assert len(server.log) == 1
    assert path.read_bytes() == CONTENT


def test_memory_stays_flat(server: Loopback, path: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(20_000_000)
    # The server would hold the content: it runs in the same process, but is not traced yet.
    server.pages["/file"] = Page(big.read_bytes(), etag='"zeros"')
    tracemalloc.start()
    fetch_file(server.url("/file"), path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
    assert path.stat().st_size == 20_000_000


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLORGAN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("COLORGAN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder().name == "colorgan"


# Archives.


def write_archive(path: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def unpacked(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if not file.is_dir()
    }


def refused(archive: Path, folder: Path, *names: str) -> str:
    with pytest.raises(ColorganError) as error:
        extract_members(archive, names, folder)
    assert str(error.value).startswith(str(archive))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_only_the_wanted_members(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "a.tar.gz", special("x", tarfile.DIRTYPE), ("x/a", CONTENT), ("./x/b", b"b"),
        ("x/c", b"c"), special("x/link", tarfile.SYMTYPE, "/etc/passwd"),
    )  # fmt: skip
    extract_members(archive, ["x/a", "x/b"], tmp_path / "out")
    assert unpacked(tmp_path / "out") == {"x/a": CONTENT, "x/b": b"b"}


@pytest.mark.parametrize("evil", ["../evil", "x/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"])
@pytest.mark.parametrize("first", [True, False])
def test_paths_that_leave_the_folder(tmp_path: Path, evil: str, first: bool) -> None:
    members = [(evil, b"evil"), ("x/a", b"a")]
    archive = write_archive(tmp_path / "a.tar.gz", *members[:: 1 if first else -1])
    assert "leaves the folder" in refused(archive, tmp_path / "in" / "out", evil, "x/a")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "member",
    [
        special("x/a", tarfile.SYMTYPE, "/etc/passwd"),
        special("x/a", tarfile.LNKTYPE, "x/b"),
        special("x/a", tarfile.FIFOTYPE),
        special("x/a", tarfile.CHRTYPE),
        special("x/a", tarfile.DIRTYPE),
    ],
)
def test_members_that_are_no_files(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ("x/b", b"b"), member)
    assert "x/a, which should be a file" in refused(archive, tmp_path / "out", "x/a")
    assert unpacked(tmp_path / "out") == {}


def test_a_link_as_a_folder_leads_nowhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = special("x", tarfile.SYMTYPE, str(elsewhere))
    archive = write_archive(tmp_path / "a.tar.gz", link, ("x/a", b"a"))
    extract_members(archive, ["x/a"], tmp_path / "out")
    assert not unpacked(elsewhere)
    assert unpacked(tmp_path / "out") == {"x/a": b"a"}


def test_a_missing_and_a_doubled_member(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ("x/a", b"a"), ("x/a", b"b"))
    assert "has x/a twice" in refused(archive, tmp_path / "out", "x/a")
    assert "lacks x/b" in refused(archive, tmp_path / "out", "x/b")


@pytest.mark.parametrize("length", [0, 5, 100, 500_000, 999_900, -4])
def test_a_truncated_archive(tmp_path: Path, length: int) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ("x/a", CONTENT), ("x/b", b"b"))
    archive.write_bytes(archive.read_bytes()[:length])
    assert "is not a whole .tar.gz archive" in refused(archive, tmp_path / "out", "x/a")
    assert set(unpacked(tmp_path / "out")) <= {"x/a"}
    assert all(content == CONTENT for content in unpacked(tmp_path / "out").values())


def test_garbage_and_damage(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(CONTENT)
    assert "is not a whole .tar.gz" in refused(archive, tmp_path / "out", "x/a")
    write_archive(archive, ("x/a", CONTENT))
    damaged = bytearray(archive.read_bytes())
    damaged[500_000] ^= 255
    archive.write_bytes(damaged)
    assert "is not a whole .tar.gz" in refused(archive, tmp_path / "out", "x/a")


def test_unpacking_keeps_memory_flat(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ("x/a", bytes(30_000_000)))
    tracemalloc.start()
    extract_members(archive, ["x/a"], tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000


def test_unpacking_onto_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ("x/a", bytes(3_000_000)))
    with pytest.raises(OSError, match="No space left"):
        extract_members(archive, ["x/a"], small_disk)
    assert unpacked(small_disk) == {}
