"""Downloads that can be trusted: resumed, checked, and under their final name only when whole."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import tarfile
import time
import zlib
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from os import environ
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

import platformdirs
import requests
import urllib3
from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal
from rich.progress import DownloadColumn, Progress, TaskID

from colorgan import io
from colorgan.errors import ColorganError

TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and seconds without a byte."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds before each further try; with them used up, it is an error."""
WORTHWHILE = 16 << 20
"""A try that brought this many bytes does not count as failed: long downloads break often."""
CHUNK = 1 << 16


class _Broken(Exception):  # noqa: N818 - a finding that leads to another try
    """The connection broke, or never was; what arrived so far is kept. The text says why."""


def cache_folder() -> Path:
    """Return the folder of archives and partial downloads: COLORGAN_CACHE, or the user's cache."""
    folder = environ.get("COLORGAN_CACHE") or platformdirs.user_cache_dir("colorgan")
    return Path(folder).expanduser()


def fetch_file(url: str, path: Path, *, md5: str | None = None, sha256: str | None = None) -> Path:
    """Download `url` to `path`, unless it is there already with the right checksums.

    What arrived lies in `<path>.part` until it is whole, and a later call continues there if the
    server can tell that its file is still the same. Without a checksum, a file that is there is
    taken as it is. A second process that wants the same file waits for the first.

    Returns:
        `path`.

    Raises:
        ColorganError: the server cannot be reached or refuses, or its file has another checksum.
        OSError: the disk is full or not writable; what arrived is kept.
    """
    sums = {name: text.lower() for name, text in (("md5", md5), ("sha256", sha256)) if text}
    if path.is_file() and not _difference(path, sums):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        if path.is_file() and not _difference(path, sums):
            return path
        part = _Part(path, url)
        with _bar() as bar:
            _fill(part, bar)
        if difference := _difference(part.path, sums):
            part.remove()
            raise ColorganError(
                f"{url} gave a file whose {difference}; it was removed, so run the same command "
                "again, and if that does not help, the address leads to another file than it should"
            )
        part.finish(path)
    return path


def digest(path: Path, name: str) -> str:
    """Return the checksum `name` (`md5`, `sha256`) of a file in hex digits."""
    # MD5 is what sources publish; it tells damage, not malice.
    sums = partial(hashlib.new, name, usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, sums).hexdigest()


def _difference(path: Path, sums: dict[str, str]) -> str:
    """Return how a checksum of a file differs from the right one, or an empty string."""
    for name, right in sums.items():
        if (found := digest(path, name)) != right:
            return f"{name} is {found} and should be {right}"
    return ""


def _alone(path: Path) -> AbstractContextManager[object]:
    """Hold the lock of `path` in a with-block; it goes with the process, however that ends."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"waiting for another process that downloads {path}", file=sys.stderr, flush=True)
        return lock.acquire()


class _Part:
    """A partial download: the bytes so far in `path`, beside them a note of what they belong to.

    `total` is the size of the whole, None where the server did not say; `validator` the server's
    ETag or Last-Modified, without which nothing can be continued.
    """

    def __init__(self, final: Path, url: str) -> None:
        self.path = final.with_name(f"{final.name}.part")
        self.url = url
        self.total: int | None = None
        self.validator: str | None = None
        self._note = final.with_name(f"{final.name}.part.json")
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["url"] == url:
                self.total, self.validator = note["total"], note["validator"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass  # No note that can be read: it starts anew.

    @property
    def size(self) -> int:
        """Bytes that are there and known to belong to the whole."""
        return self.path.stat().st_size if self.validator and self.path.exists() else 0

    def start(self, total: int | None, validator: str | None) -> None:
        """Begin anew with a file of this size and validator."""
        self.remove()
        self.total, self.validator = total, validator
        # Before the first byte: a note without bytes does no harm, the other way round it does.
        note = {"url": self.url, "total": total, "validator": validator}
        io.write_json(self._note, note)

    def remove(self) -> None:
        """Forget what is there."""
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self.total = self.validator = None

    def finish(self, final: Path) -> None:
        """Give the whole file its final name."""
        self.path.replace(final)
        self._note.unlink(missing_ok=True)


def _fill(part: _Part, bar: Progress) -> None:
    """Try until the part is the whole; ColorganError after too many broken connections."""
    tries, before = 0, part.size
    while True:
        try:
            return _try(part, bar)
        except _Broken as broken:
            if part.size - before >= WORTHWHILE:
                tries, before = 0, part.size
            if tries == len(PAUSES):
                kept = f", and continues after {decimal(part.size)}" if part.size else ""
                raise ColorganError(
                    f"{part.url} could not be downloaded ({broken}): check the connection and "
                    f"run the same command again; it tried {tries + 1} times{kept}"
                ) from None
            time.sleep(PAUSES[tries])
            tries += 1


def _try(part: _Part, bar: Progress) -> None:
    """Fetch what is missing over one connection.

    Raises:
        _Broken: it is not the whole yet.
    """
    have = part.size
    if have and have == part.total:
        return
    # Compressed on the way, offsets would count other bytes than those of the file.
    headers = {"Accept-Encoding": "identity"}
    if have and part.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": part.validator}
    with _get(part.url, headers) as response:
        if response.status_code == 200:
            length = response.headers.get("Content-Length", "")
            part.start(int(length) if length.isdecimal() else None, _validator(response))
        elif not _continues(response, part, have):
            part.remove()
            raise _Broken("the file on the server is not the one that was begun")
        _begin(bar, part)
        with _naming(part.path), part.path.open("ab") as file:
            for chunk in _chunks(response):
                file.write(chunk)
                bar.advance(TaskID(0), len(chunk))
    size = part.path.stat().st_size
    if part.total is not None and size != part.total:
        raise _Broken(f"{size} bytes arrived instead of {part.total}")


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    """Ask for `url`; return the answer, its body unread, if it is 200, 206 or 416."""
    try:
        response = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Broken(_reason(error)) from error
    except requests.RequestException as error:
        raise ColorganError(
            f"{url!r} cannot be downloaded ({_reason(error)}); it should be an address like "
            "https://host/file"
        ) from None
    if response.status_code not in ((200, 206, 416) if "Range" in headers else (200,)):
        response.close()
        advice = "try again later" if response.status_code >= 500 else "check the address"
        if response.status_code in (401, 403):
            advice = "the server refuses to give the file out; check the address and your access"
        raise ColorganError(f"{url} answered {response.status_code} {response.reason}: {advice}")
    return response


def _reason(error: BaseException) -> str:
    """Return what lies at the bottom of an error, without the names of classes around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _validator(response: requests.Response) -> str | None:
    """Return what tells this version of the file from others, as If-Range takes it."""
    etag = response.headers.get("ETag")
    # A weak ETag is the same for files that differ in bytes, so If-Range must not have it.
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _continues(response: requests.Response, part: _Part, have: int) -> bool:
    """Whether the answer is the rest of the part; some servers disregard If-Range."""
    if response.status_code != 206:
        return False
    content_range = response.headers.get("Content-Range", "").strip()
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
    if not found or int(found[1]) != have or found[2] not in ("*", str(part.total or found[2])):
        return False
    return _validator(response) in (None, part.validator)


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it was sent; a .tar.gz labelled as gzip-encoded stays one."""
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _Broken(_reason(error)) from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError without a file name, as a full disk raises it, name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _bar() -> Progress:
    """Return a bar with one task, number 0; it shows nothing where there is no terminal."""
    columns = (*Progress.get_default_columns(), DownloadColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    bar.add_task("downloading", total=None)
    return bar


def _begin(bar: Progress, part: _Part) -> None:
    """Show what is there as a connection begins: in the bar, or as a line where there is none."""
    bar.update(TaskID(0), completed=part.size, total=part.total)
    if bar.disable:
        size = f" ({decimal(part.total)})" if part.total else ""
        after = f", continuing after {decimal(part.size)}" if part.size else ""
        print(f"downloading {part.url}{size}{after}", file=sys.stderr, flush=True)


def extract_members(archive: Path, names: Collection[str], folder: Path) -> None:
    """Unpack the members called `names` of a .tar.gz into `folder`, under the same names.

    The archive is read to its end, a block at a time. On an error, `folder` keeps the members
    before it: unpack into a folder aside.

    Raises:
        ColorganError: the archive is damaged, lacks a member, has one twice, has a link or a
            device in its place, or has a path that leaves the folder; names the archive.
    """
    missing = set(names)
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                name = _safe_name(archive, member.name)
                if name in names:
                    if name not in missing:
                        raise ColorganError(f"{archive} has {name} twice; it should have it once")
                    _extract(archive, tar, member, folder / name)
                    missing.remove(name)
            # tarfile stops at the end that it finds; the checksum of gzip comes after it.
            while stream.read(CHUNK):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ColorganError(
            f"{archive} is not a whole .tar.gz archive ({_reason(error)}): remove it and run the "
            "same command again to download it anew"
        ) from None
    if missing:
        raise ColorganError(f"{archive} lacks {min(missing)}; it is not the archive it should be")


def _safe_name(archive: Path, name: str) -> str:
    """Return the path of a member without needless parts."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
        raise ColorganError(
            f"{archive} has a member {name!r}, whose path leaves the folder it is unpacked into; "
            "it is not the archive it should be"
        )
    return str(path)


def _extract(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content: IO[bytes] | None = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise ColorganError(
            f"{archive} has a link, folder or device called {member.name}, which should be a file"
        )
    with content, io.file_aside(path) as aside, _naming(path), aside.open("wb") as file:
        copyfileobj(content, file, CHUNK * 16)
