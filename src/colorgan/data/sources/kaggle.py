"""The Kaggle set shravankumar9892/image-colorization: 25,000 photos of 224 px in 8-bit Lab."""

from __future__ import annotations

import logging
import shutil
import sys
from contextlib import redirect_stdout, suppress
from functools import partial
from os import environ
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from colorgan.config import DataParams
from colorgan.data.arrays import MappedArray, open_array
from colorgan.data.decode import DecodedPhoto, PhotoList, RawPhoto
from colorgan.errors import ColorganError

DATASET = "shravankumar9892/image-colorization"
LIGHTNESS = "l/gray_scale.npy"
AB = ("ab/ab/ab1.npy", "ab/ab/ab2.npy", "ab/ab/ab3.npy")
"""The chroma of the photos of LIGHTNESS, in this order."""
ATTEMPTS = 5
"""Times that a download is tried whose connection breaks; each goes on where the last ended."""


def _read(array: MappedArray, row: int) -> bytes:
    """Read a photo; pages of the memory map would count as the process's memory."""
    size, path = array[0].nbytes, str(array.filename)
    return np.fromfile(path, np.uint8, size, offset=array.offset + row * size).tobytes()


def _decode(shape: tuple[int, ...], content: bytes, side: int) -> DecodedPhoto:  # noqa: ARG001
    """Put L `(H, W)` and ab `(H, W, 2)` together; there is no smaller size to decode to."""
    height, width = shape
    lightness, ab = np.split(np.frombuffer(content, np.uint8), [height * width])
    lab = np.dstack((lightness.reshape(height, width), ab.reshape(height, width, 2)))
    return DecodedPhoto(Image.fromarray(lab), "lab", (width, height))


def fetch(data: DataParams, folder: Path) -> None:
    """Copy the set's arrays from kagglehub's cache, where they are downloaded if need be.

    COLORGAN_KAGGLE_FOLDER names a folder that has them already.
    """
    own = environ.get("COLORGAN_KAGGLE_FOLDER")
    home = Path(own).expanduser() if own else _download()
    try:
        open_photos(data, home)
    except ColorganError as error:
        if own:
            raise
        # kagglehub takes what is in its cache for whole and would not look again.
        raise ColorganError(f"{error}; delete {home} to have it downloaded again") from None
    for name in (LIGHTNESS, *AB):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Never a hard link: DVC makes what it tracks read-only.
        shutil.copyfile(home / name, folder / name)


def open_photos(data: DataParams, folder: Path) -> PhotoList:  # noqa: ARG001
    """Open the arrays by their headers; the set has no labels and no splits."""
    lightness = open_array(folder / LIGHTNESS, ("N", "height", "width"))
    ab = tuple(open_array(folder / name, ("N", *lightness.shape[1:], 2)) for name in AB)
    if (count := sum(map(len, ab))) != len(lightness):
        raise ColorganError(
            f"{folder / LIGHTNESS} holds {len(lightness)} photos but {', '.join(AB)} together "
            f"hold {count}; each photo should have both its L and its ab"
        )
    decoder = partial(_decode, lightness.shape[1:])

    def read(row: int, part: MappedArray, i: int) -> RawPhoto:
        return RawPhoto(_read(lightness, row) + _read(part, i), f"{row:05d}", decoder=decoder)

    places = [(part, i) for part in ab for i in range(len(part))]
    return PhotoList(read, [(row, *place) for row, place in enumerate(places)])


def _download() -> Path:
    """Return where kagglehub keeps the set; it downloads what its cache does not hold."""
    # Imported here, for it takes a second and sets up logging.
    import kagglehub
    import requests
    from kagglehub.config import get_cache_folder

    from colorgan.data.sources.fetching import innermost

    logging.getLogger("kagglehub").setLevel(logging.WARNING)
    cache = Path(get_cache_folder())
    mine = cache / "datasets" / DATASET
    cache.mkdir(parents=True, exist_ok=True)
    # Two at a time would write into the same partial file.
    with FileLock(cache / "colorgan.lock"), redirect_stdout(sys.stderr):
        try:
            for _ in range(ATTEMPTS - 1):
                with suppress(requests.exceptions.ChunkedEncodingError):
                    return Path(kagglehub.dataset_download(DATASET))
            return Path(kagglehub.dataset_download(DATASET))
        except Exception as error:  # it lets through whatever the archive's format raises
            if isinstance(error, OSError) and error.errno:  # such as a full disk
                error.filename = error.filename or str(mine)
                raise
            status = getattr(getattr(error, "response", None), "status_code", 0)
            advice = (
                "check the network and run this again, it goes on where it stopped; if that does "
                f"not help, delete {mine} to have all of it downloaded again"
            )
            if status in (401, 403):
                advice = (
                    "save an API token of https://www.kaggle.com/settings as "
                    "~/.kaggle/kaggle.json, or set KAGGLE_USERNAME and KAGGLE_KEY"
                )
            raise ColorganError(
                f"kagglehub could not download {DATASET} ({status or innermost(error)}): {advice}. "
                f"If its arrays are on this machine (perhaps in {mine}/versions), set "
                "COLORGAN_KAGGLE_FOLDER to their folder"
            ) from error
