"""The Kaggle set shravankumar9892/image-colorization: 25,000 photos of 224 px in 8-bit Lab."""

from __future__ import annotations

import bisect
import contextlib
import errno
import itertools
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock
from PIL import Image

from colorgan.config import DataParams
from colorgan.data.sources.base import Pixels, content_id
from colorgan.errors import ColorganError

DATASET = "shravankumar9892/image-colorization"
LIGHTNESS = "l/gray_scale.npy"
AB = ("ab/ab/ab1.npy", "ab/ab/ab2.npy", "ab/ab/ab3.npy")
"""The chroma of the photos of LIGHTNESS, in this order."""

ATTEMPTS = 5
"""Times that a broken download is taken up again before it is given up."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Array:
    """Where the photos lie in an .npy file of bytes, and what shape each has."""

    path: Path
    offset: int
    count: int
    shape: tuple[int, ...]

    @property
    def photo_bytes(self) -> int:
        """Bytes of one photo."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class LabPhoto:
    """A photo as its L and ab bytes."""

    name: str
    height: int
    width: int
    lightness: bytes
    ab: bytes
    label: str = ""
    split: str | None = None

    @property
    def id(self) -> str:
        """A hash of the L and ab bytes."""
        return content_id(self.lightness + self.ab)

    def decode(self, side: int) -> Pixels:
        """Put L, a and b together; there is nothing to decode, so `side` saves nothing."""
        lab = np.empty((self.height, self.width, 3), np.uint8)
        lab[..., 0] = np.frombuffer(self.lightness, np.uint8).reshape(lab.shape[:2])
        lab[..., 1:] = np.frombuffer(self.ab, np.uint8).reshape(*lab.shape[:2], 2)
        return Pixels(Image.fromarray(lab), "lab", (self.width, self.height))


@dataclass(frozen=True)
class KagglePhotos:
    """The photos in the order of the L file; the set has no labels and no splits."""

    lightness: _Array
    ab: tuple[_Array, ...]

    def __len__(self) -> int:
        return self.lightness.count

    def read(self, rows: Sequence[int]) -> Iterator[LabPhoto]:
        """Read the photos one by one.

        By plain reads: pages of a memory map would count as the process's memory, up to the
        whole file.
        """
        height, width = self.lightness.shape
        ends = list(itertools.accumulate(part.count for part in self.ab))
        with contextlib.ExitStack() as stack:
            lightness_file, *ab_files = (
                stack.enter_context(array.path.open("rb")) for array in (self.lightness, *self.ab)
            )
            for row in rows:
                which = bisect.bisect_right(ends, row)
                part = self.ab[which]
                lightness = _read_photo(lightness_file, self.lightness, row)
                ab = _read_photo(ab_files[which], part, row - ends[which] + part.count)
                yield LabPhoto(f"{row:05d}", height, width, lightness, ab)


class KaggleSource:
    """The set's own four .npy files, fetched by kagglehub with its cache and its credentials."""

    def fetch(self, data: DataParams, folder: Path) -> None:
        """Download the set into kagglehub's cache unless it is there, and copy its arrays."""
        cached = _download()
        try:
            _open(cached)
        except ColorganError as error:
            # kagglehub takes what is in its cache for whole and would not look again.
            raise ColorganError(f"{error}; delete {cached} to have it downloaded again") from None
        for name in (LIGHTNESS, *AB):
            # A copy, never a hard link: DVC makes what it tracks read-only.
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(cached / name, folder / name)
            except OSError as error:
                raise ColorganError(_disk_sentence(error, folder)) from error

    def open(self, data: DataParams, folder: Path) -> KagglePhotos:
        """Open the arrays by their headers."""
        return _open(folder)


def _open(folder: Path) -> KagglePhotos:
    lightness = _header(folder / LIGHTNESS, "(N, height, width)", 3)
    height, width = lightness.shape
    parts = []
    for name in AB:
        wanted = f"(N, {height}, {width}, 2)"
        part = _header(folder / name, wanted, 4)
        if part.shape != (height, width, 2):
            raise ColorganError(
                f"{part.path} holds uint8 {(part.count, *part.shape)}; it should hold uint8 "
                f"{wanted}, for {LIGHTNESS} holds photos of {width}x{height}"
            )
        parts.append(part)
    if (count := sum(part.count for part in parts)) != lightness.count:
        raise ColorganError(
            f"{lightness.path} holds {lightness.count} photos but {', '.join(AB)} together hold "
            f"{count}; each photo should have both its L and its ab"
        )
    return KagglePhotos(lightness, tuple(parts))


def _header(path: Path, wanted: str, dimensions: int) -> _Array:
    """Read and check the header of an .npy file; pickles are not loaded."""
    should = f"it should be an .npy file of uint8 {wanted}"
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
            offset = file.tell()
    except FileNotFoundError:
        raise ColorganError(f"{path} is missing; {should}") from None
    except OSError as error:
        raise ColorganError(f"{path} cannot be read ({error.strerror}); {should}") from error
    except Exception as error:
        # The header is Python source: damaged, it raises nearly anything.
        raise ColorganError(f"{path} is not an .npy file ({_one_line(error)}); {should}") from error
    if dtype.hasobject:
        raise ColorganError(f"{path} holds pickled objects, which are never loaded; {should}")
    if dtype != np.uint8 or len(shape) != dimensions or min(shape) < 1 or fortran:
        order = " in Fortran order" if fortran else ""
        raise ColorganError(f"{path} holds {dtype} {shape}{order}; {should}")
    array = _Array(path, offset, shape[0], shape[1:])
    if size != (whole := offset + array.count * array.photo_bytes):
        fault = "truncated" if size < whole else "too long"
        raise ColorganError(
            f"{path} is {fault}: it has {size:,} bytes, and its header says uint8 {shape}, for "
            f"which it should have {whole:,}"
        )
    return array


def _read_photo(file: BinaryIO, array: _Array, row: int) -> bytes:
    file.seek(array.offset + row * array.photo_bytes)
    content = file.read(array.photo_bytes)
    if len(content) != array.photo_bytes:
        raise ColorganError(
            f"{array.path} ends before its photo {row}; it was cut since it was opened and should "
            "be downloaded again"
        )
    return content


def _download() -> Path:
    """Return where kagglehub keeps the set; it downloads what its cache does not hold."""
    # Imported here, for it takes a second and sets up logging.
    import requests
    from kagglehub.config import get_cache_folder

    cache = Path(get_cache_folder())
    mine = cache / "datasets" / DATASET
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Two at a time would write into the same partial file.
        with FileLock(cache / "colorgan.lock"), _quiet():
            try:
                return _newest()
            except requests.ConnectionError:
                # kagglehub asks for the newest version even when it has downloaded it before.
                if (found := _complete(mine)) is None:
                    raise
                _LOG.warning("Kaggle cannot be reached; %s from an earlier download is used", found)
                return found
    except Exception as error:
        # It lets through whatever the network, the disk and the archive's format raise.
        raise ColorganError(_sentence(error, mine)) from error


def _newest() -> Path:
    import kagglehub
    import requests

    for _ in range(ATTEMPTS - 1):
        # Called again, it goes on where the connection broke.
        with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
            return Path(kagglehub.dataset_download(DATASET))
    return Path(kagglehub.dataset_download(DATASET))


def _complete(mine: Path) -> Path | None:
    """Return the newest version that lies whole in kagglehub's cache, found without a network."""
    import kagglehub
    import requests

    versions = (int(path.name) for path in mine.glob("versions/*") if path.name.isdecimal())
    for version in sorted(versions, reverse=True):
        # Of one that is not whole it asks the network, in vain.
        with contextlib.suppress(requests.RequestException):
            return Path(kagglehub.dataset_download(f"{DATASET}/versions/{version}"))
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep kagglehub's progress bar, on stderr, and drop what it says on stdout."""
    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    with (
        Path(os.devnull).open("w", encoding="utf-8", errors="replace") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def _sentence(error: Exception, cache: Path) -> str:
    """Say what went wrong with a download whose files lie in `cache`, and what would be right."""
    import requests
    from kagglehub.exceptions import DataCorruptionError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _status_sentence(error.response.status_code)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return (
            f"the connection to Kaggle broke {ATTEMPTS} times while {DATASET} was downloaded; what "
            "arrived is kept where the server allows it, so run it again"
        )
    if isinstance(error, requests.RequestException):
        return (
            f"Kaggle cannot be reached to download {DATASET} ({_first_cause(error)}); check the "
            "network and run it again"
        )
    if isinstance(error, DataCorruptionError):
        return (
            f"what arrived of {DATASET} does not have the checksum that Kaggle names, so it was "
            "removed; run it again to download it anew"
        )
    if isinstance(error, OSError):
        return _disk_sentence(error, cache)
    if isinstance(error, ValueError) and "credentials" in str(error):
        return f"{_one_line(error)}; it should hold your username and key as Kaggle gave it"
    return (
        f"kagglehub can make nothing of what it got for {DATASET} ({_one_line(error)}); delete "
        f"{cache} to have it downloaded again"
    )


def _status_sentence(status: int) -> str:
    if status in (401, 403):
        return (
            f"Kaggle does not let you download {DATASET} (it answers {status}): get an API token "
            "at https://www.kaggle.com/settings and save it as ~/.kaggle/kaggle.json, or set "
            "KAGGLE_USERNAME and KAGGLE_KEY, or call kagglehub.login() once"
        )
    if status == 404:
        return (
            f"Kaggle has no data set {DATASET} (it answers 404); it may have been moved or "
            "removed, so choose another `source` in params.yaml"
        )
    return f"Kaggle answers {status} instead of {DATASET}; run it again later"


def _disk_sentence(error: OSError, folder: Path) -> str:
    if error.errno in _FULL:
        return (
            f"the disk is full: {DATASET} does not fit into {folder}; make room and run it again "
            "(KAGGLEHUB_CACHE can name a folder on another disk for the download)"
        )
    return (
        f"{error.filename or folder} cannot be used ({error.strerror or _one_line(error)}); "
        f"{folder} should be a folder that you can write to (KAGGLEHUB_CACHE can name another one "
        "for the download)"
    )


def _first_cause(error: BaseException) -> str:
    """Return what the innermost error says: the outer ones only wrap it, at length."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
