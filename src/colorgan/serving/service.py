"""What the page of `colorgan app` can do: list models, colour a photo, keep the results."""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

from PIL import Image

from colorgan import paths
from colorgan.config import SPACES
from colorgan.errors import ColorganError
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.formats import SUFFIX_OF, previews

MODELS_KEPT = 4
BYTES_KEPT = 256_000_000
"""Memory for results. The page fetches its own at once, so that they outlive this."""
LONGEST_NAME = 255
"""Bytes of a file name, on most file systems."""
RUNS_SHOWN = 30
EXAMPLES = 12
RUN = "runs:/"


@dataclass(frozen=True)
class Result:
    """A coloured photo.

    Attributes:
        name: file name for the download.
        files: `before` and `after` as JPEG for the page, and the `file` to download.
        media_type: of `file`.
        size: width and height of `file`.
        seconds: time it took.
        notes: what should be said of it, such as damage or pictures left out.
    """

    name: str
    files: dict[str, bytes]
    media_type: str
    size: tuple[int, int]
    seconds: float
    notes: Sequence[str] = ()


class ColorizeService:
    """Colours photos with any of the models there are and keeps the newest results in memory.

    `results` are by their ids, the oldest first; `model` is the one that is chosen at first.
    """

    def __init__(self, device: str, model: str) -> None:
        @lru_cache(MODELS_KEPT)
        def load(wanted: str) -> Colorizer:
            # A request must not name any path it likes.
            if wanted != model and wanted not in self.models():
                raise ColorganError(f"there is no model {wanted!r} here")
            return Colorizer.load(wanted, device)

        self._first, self._load = model, load
        self.results: dict[str, Result] = {}
        self._lock = threading.Lock()
        load(model)

    def models(self) -> dict[str, str]:
        """Return the models there are, label by id: first, bundled, trained here, MLflow runs.

        The id is what `--model` takes.
        """
        choices = {self._first: self._first}
        if paths.pretrained().is_dir():
            choices[paths.PRETRAINED] = paths.PRETRAINED
        for space in SPACES:
            if paths.model(space).is_dir():
                choices[space] = f"{space.upper()}, trained here"
        return choices | _runs()

    def colorize(
        self, content: bytes, name: str, model: str, saturation: float
    ) -> tuple[str, Result]:
        """Colour an encoded photo and return the id of the result, and the result.

        Raises:
            ColorganError: `model` is not offered, or cannot be loaded.
            UnreadablePhoto, ValueError: as `Colorizer.colorize_bytes`.
        """
        start = time.perf_counter()
        colored = self._load(model).colorize_bytes(content, saturation=saturation)
        seconds = time.perf_counter() - start
        before, after = previews(colored.picture, colored.pixels)
        by = "" if model == self._first else f"_{_short(model)}"
        result = Result(
            name=_file_name(name, f"_colored{by}{SUFFIX_OF[colored.format]}"),
            files={"before": before, "after": after, "file": colored.content},
            media_type=f"image/{colored.format.lower()}",
            size=(colored.pixels.shape[1], colored.pixels.shape[0]),
            seconds=seconds,
            notes=colored.notes,
        )
        id = secrets.token_hex(8)
        with self._lock:
            self.results[id] = result
            n_bytes = {id: sum(map(len, one.files.values())) for id, one in self.results.items()}
            while len(n_bytes) > 1 and sum(n_bytes.values()) > BYTES_KEPT:
                oldest = next(iter(n_bytes))
                del n_bytes[oldest], self.results[oldest]
        return id, result


def examples() -> dict[str, Path]:
    """Return some bundled photos of each class by file name; empty outside of the project."""
    photos = sorted(paths.SAMPLE.glob("*/*.webp"))
    step = max(1, len(photos) // EXAMPLES)
    return {photo.name: photo for photo in photos[step // 2 :: step][:EXAMPLES]}


def gray_jpeg(path: Path) -> bytes:
    """Return a picture in gray as JPEG."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("L").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _file_name(name: str, ending: str) -> str:
    """Return the name of a result that any file system takes, whatever the photo's name is."""
    stem = PurePath(name.replace("\\", "/")).stem
    # Neither control characters, which browsers refuse, nor what Windows does.
    stem = "".join(c if c.isprintable() and c not in '<>:"|?*' else "_" for c in stem)
    most = LONGEST_NAME - len(ending.encode())
    return (stem.encode()[:most].decode(errors="ignore").lstrip(". ") or "photo") + ending


def _short(model: str) -> str:
    """Return a model's id, of a run its first 8 digits: many runs have the same name."""
    return model.removeprefix(RUN)[:8] if model.startswith(RUN) else model


def _runs() -> dict[str, str]:
    """Return labels of the newest runs by id; none without MLflow or a store that answers."""
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns

        runs = TrainingRuns()
        return {
            RUN + run.id: f"{run.name} · {_short(RUN + run.id)}"
            for space in SPACES
            for run in runs.with_weights(f"train_{space}", RUNS_SHOWN)
        }
    except (ColorganError, ModuleNotFoundError):
        return {}
