"""Downloads from a server with faults, and archives with traps."""

from __future__ import annotations

import errno
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from colorgan.data.sources import fetching
from colorgan.data.sources.fetching import extract_members, fetch_file, local
from colorgan.errors import ColorganError
from loopback import Loopback, Page
from stl10_archive import packed
from tiny_project import listing

CONTENT = np.random.default_rng(0).bytes(1_000_000)
OTHER = np.random.default_rng(1).bytes(1_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01))
    with Loopback() as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def beside(path: Path) -> set[str]:
    """The files beside `path`, but for the lock."""
    return {file.name for file in path.parent.iterdir() if file.suffix != ".lock"}


def refusal(server: Loopback, path: Path) -> str:
    """The sentence that fetching /file ends with; no file has the final name."""
    with pytest.raises(ColorganError) as error:
        fetch_file(server.url("/file"), path, MD5)
    sentence = str(error.value)
    assert server.url("/file") in sentence
    assert "\n" not in sentence
    assert not path.exists()
    return sentence


def test_whole_and_only_once(server: Loopback, path: Path, capsys: pytest.CaptureFixture) -> None:
    server.pages["/file"] = Page(CONTENT)
    assert fetch_file(server.url("/file"), path, MD5) == path
    assert path.read_bytes() == CONTENT
    assert beside(path) == {"file.bin"}
    assert capsys.readouterr().err == f"downloading {server.url('/file')} (1.0 MB)\n"
    fetch_file(server.url("/file"), path, MD5)
    assert len(server.log) == 1
    assert capsys.readouterr().err == ""


def test_what_lies_here_is_named_by_a_path_or_an_address(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    there = tmp_path / "with a space.bin"
    there.touch()
    assert local(there.as_uri()) == local(str(there)) == local("~/with a space.bin") == there
    assert local("https://host/with a space.bin") is None
    with pytest.raises(ColorganError, match=r"nowhere' does not exist; it should be a file, a "):
        local((tmp_path / "nowhere").as_uri())


def test_a_cache_that_nobody_may_write_into(path: Path, monkeypatch) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT)

    def refuse(self: Path, *given: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert fetch_file("http://nowhere/file", path, MD5) == path
    with pytest.raises(PermissionError):
        fetch_file("http://nowhere/file", path, hashlib.md5(OTHER).hexdigest())


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_continued_if_the_server_can(server, path, ranges) -> None:
    server.pages["/file"] = Page(CONTENT, breaks=1, breaks_after=500_000, ranges=ranges)
    fetch_file(server.url("/file"), path, MD5)
    assert path.read_bytes() == CONTENT
    first, second = (asked.headers.get("range") for asked in server.log)
    assert first is None
    assert re.fullmatch(r"bytes=4\d{5}-|bytes=500000-", second)


def test_a_later_call_continues(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(CONTENT, breaks=3, breaks_after=200_000)
    assert "run this again; it continues after " in refusal(server, path)
    assert beside(path) == {"file.bin.part"}
    kept = path.with_name("file.bin.part").stat().st_size
    server.pages["/file"] = Page(CONTENT)
    fetch_file(server.url("/file"), path, MD5)
    assert path.read_bytes() == CONTENT
    assert server.log[-1].headers["range"] == f"bytes={kept}-"
    assert beside(path) == {"file.bin"}


def test_wrong_checksum(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(OTHER)
    sentence = refusal(server, path)
    assert f"md5 is {hashlib.md5(OTHER).hexdigest()} and should be {MD5}" in sentence
    assert beside(path) == set()


def test_refusals(server: Loopback, path: Path) -> None:
    for status, words in (
        (403, "answered 403 Forbidden: check the address and your access"),
        (503, "answered 503 Service Unavailable: try again later"),
    ):
        server.pages["/file"] = Page(b"<html>no</html>", status=status)
        assert words in refusal(server, path)
    assert len(server.log) == 2
    assert beside(path) == set()


def test_several_at_once_fetch_a_file_once(server: Loopback, path: Path) -> None:
    server.pages["/file"] = Page(CONTENT)
    threads = [
        threading.Thread(target=fetch_file, args=(server.url("/file"), path, MD5)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(server.log) == 1
    assert path.read_bytes() == CONTENT


def test_an_address_that_is_none(path: Path) -> None:
    for url in ("ftp://127.0.0.1/file", "http://[::1"):
        with pytest.raises(ColorganError, match=rf"^{re.escape(url)} could not be downloaded \("):
            fetch_file(url, path, MD5)


# Archives.


def test_only_the_wanted_members(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(packed({"x/a": CONTENT, "../evil": b"", "x/b": b"b", "x/c": b"c"}, "."))
    extract_members(archive, ["x/a", "x/b"], tmp_path / "out")
    assert listing(tmp_path / "out") == {"x/a": CONTENT, "x/b": b"b"}


def test_an_archive_that_lacks_a_member_or_is_none(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(packed({"a": CONTENT}, "x"))
    with pytest.raises(ColorganError, match="lacks x/b; it is not the archive it should be"):
        extract_members(archive, ["x/a", "x/b"], tmp_path / "out")
    for content in (archive.read_bytes()[:500_000], CONTENT, b""):
        archive.write_bytes(content)
        with pytest.raises(ColorganError, match=r"a\.tar\.gz is not a whole \.tar\.gz archive"):
            extract_members(archive, ["x/a"], tmp_path / "out")
