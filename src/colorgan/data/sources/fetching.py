"""Downloads of large files: resumed, checked, and under their final name only when whole."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import time
from collections.abc import Collection
from os import environ
from pathlib import Path
from posixpath import normpath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import platformdirs
import requests
import urllib3
from filelock import FileLock
from rich.console import Console
from rich.filesize import decimal
from rich.progress import DownloadColumn, Progress

from colorgan.errors import ColorganError, say

TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and seconds without a byte."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try, which asks for the rest only."""
CHUNK = 1 << 16


def cache_folder() -> Path:
    """Return the folder of archives and partial downloads: COLORGAN_CACHE, or the user's cache."""
    folder = environ.get("COLORGAN_CACHE") or platformdirs.user_cache_dir("colorgan")
    return Path(folder).expanduser()


def local(url: str) -> Path | None:
    """Return the path that a file:// address or a plain path names; None for a web address."""
    is_address = url.startswith("file:")
    if "://" in url and not is_address:
        return None
    path = Path(url2pathname(urlsplit(url).path)) if is_address else Path(url).expanduser()
    if not path.exists():
        raise ColorganError(f"{url!r} does not exist; it should be a file, a folder or an address")
    return path


def fetch_file(url: str, path: Path, md5: str) -> Path:
    """Download `url` to `path`, unless it is there already with this checksum; return `path`.

    Until it is whole, what arrived lies in `<path>.part`, and a later call asks for the rest only.
    A second process that wants the same file waits. ColorganError if the server cannot be reached
    or refuses, or its file has another checksum; OSError if the disk is full.
    """
    if _md5(path) == md5:  # perhaps in a cache that nobody may write into
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with FileLock(path.with_name(f"{path.name}.lock")):
        if _md5(path) == md5:  # another process fetched it meanwhile
            return path
        try:
            _download(url, part)
        except OSError as error:
            # That of a full disk names no file, and the message should say which disk it is.
            error.filename = error.filename or str(part)
            raise
        if (found := _md5(part)) != md5:
            part.unlink()
            raise ColorganError(
                f"{url} gave a file whose md5 is {found} and should be {md5}; it was removed: run "
                "the same command again, or check the address"
            )
        part.replace(path)
    return path


def _md5(path: Path) -> str:
    """Return the md5 of a file, or an empty string if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _download(url: str, part: Path) -> None:
    """Append to `part` until it is whole; ColorganError after too many broken connections."""
    for pause in (*PAUSES, None):
        try:
            _append(url, part)
            return
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # A malformed address is a ValueError.
            if pause is None or isinstance(error, ValueError):
                raise ColorganError(
                    f"{url} could not be downloaded ({innermost(error)}): check address and "
                    f"connection, and run this again; it continues after {decimal(_size(part))}"
                ) from None
            time.sleep(pause)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _append(url: str, part: Path) -> None:
    """Fetch what is missing over one connection."""
    have = _size(part)
    # Compressed on the way, offsets would count other bytes than those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        status = response.status_code
        if status == 416:
            return  # Nothing is missing; whether it is the right file is for the checksum to say.
        if status not in (200, 206):
            advice = "try again later" if status >= 500 else "check the address and your access"
            raise ColorganError(f"{url} answered {status} {response.reason}: {advice}")
        have = have if status == 206 else 0
        total = have + int(response.headers.get("Content-Length", 0))
        say(f"downloading {url} ({decimal(total)})")
        columns = (*Progress.get_default_columns(), DownloadColumn())
        bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        with bar, part.open("ab" if have else "wb") as file:
            task = bar.add_task("", total=total or None, completed=have)
            # Not iter_content: it would unpack a .tar.gz that is labelled as gzip-encoded.
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                bar.advance(task, len(chunk))


def innermost(error: BaseException) -> str:
    """Return the text of the first cause, without the layers around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__


def extract_members(archive: Path, names: Collection[str], folder: Path) -> None:
    """Unpack the members called `names` of a .tar.gz into `folder`, under the same names.

    ColorganError if the archive is none, or lacks a member.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # Python 3.11 has filters from 3.11.4 on; Debian's is older.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            # Some archives name their members ./a/b.
            wanted = (x for x in tar if x.isfile() and normpath(x.name) in names)
            tar.extractall(folder, wanted)
    except (tarfile.TarError, EOFError) as error:
        raise ColorganError(f"{archive} is not a whole .tar.gz archive ({error})") from None
    if missing := [name for name in names if not (folder / name).exists()]:
        raise ColorganError(f"{archive} lacks {missing[0]}; it is not the archive it should be")
