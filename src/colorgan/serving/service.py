"""What the page of `colorgan app` can do: list models, keep photos, and colour them by hints."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from colorgan import paths
from colorgan.config import SPACES
from colorgan.errors import ColorganError
from colorgan.inference.colorizer import MAX_SATURATION, ColoredFile, Colorizer
from colorgan.inference.formats import LONGEST_SIDE, SUFFIX_OF, WRITTEN_AS, jpeg, pages
from colorgan.inference.hint_files import HintFile
from colorgan.inference.image import Picture, uint8
from colorgan.inference.prepare import Box, PreparedInput
from colorgan.inference.recombine import recombine
from colorgan.serving.choices import likely_colours

MODELS_KEPT = 4
BYTES_KEPT = 256_000_000
"""Memory for photos. The page sends those again that are not kept any longer."""
PREVIEW_PIXELS = 1_500_000
LONGEST_NAME = 255
"""Bytes of a file name, on most file systems."""
RUNS_SHOWN = 30
EXAMPLES = 12
RUN = "runs:/"


class Asked(HintFile):
    """How a photo is to be coloured: a file of hints, and the settings of the page.

    Attributes:
        model: an id of `ColorizeService.models`; empty for the first.
        x, y: the place whose likely colours are asked for, as fractions.
    """

    model: str = ""
    saturation: Annotated[float, Field(ge=0, le=MAX_SATURATION)] = 1.0
    x: Annotated[float, Field(ge=0, le=1)] = 0.5
    y: Annotated[float, Field(ge=0, le=1)] = 0.5


@dataclass(frozen=True)
class Photo:
    """An uploaded photo.

    Attributes:
        content: the file.
        preview: the photo in 8 bits, of at most PREVIEW_PIXELS.
        notes: what should be said of it, such as damage or pictures left out.
        prepared: what does not depend on hints, by model.
    """

    content: bytes
    name: str
    size: tuple[int, int]
    preview: Picture
    notes: Sequence[str]
    prepared: dict[str, PreparedInput] = field(default_factory=dict)

    def n_bytes(self) -> int:
        """Return the memory it takes."""
        arrays = [self.preview.pixels]
        for one in list(self.prepared.values()):
            arrays += [one.small, one.input]
        return len(self.content) + sum(array.nbytes for array in arrays)


class ColorizeService:
    """Keeps the newest photos in memory and colours them with any of the models there are.

    `photos` are by their ids, the oldest first; `model` is the one that is chosen at first.
    """

    def __init__(self, device: str, model: str) -> None:
        @lru_cache(MODELS_KEPT)
        def load(wanted: str) -> Colorizer:
            # A request must not name any path it likes.
            if wanted != model and wanted not in self.models():
                raise ColorganError(f"there is no model {wanted!r} here")
            return Colorizer.load(wanted, device)

        self._first = model
        self._load: Callable[[str], Colorizer] = lambda wanted: load(wanted or model)
        self.photos: dict[str, Photo] = {}
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

    def add(self, content: bytes, name: str) -> tuple[str, Photo]:
        """Keep a photo and return its id and the photo; UnreadablePhoto if it is none."""
        picture, metadata = next(pages(content))
        image = Image.fromarray(uint8(picture.pixels))
        longest = (PREVIEW_PIXELS * max(image.size) / min(image.size)) ** 0.5
        image.thumbnail((min(longest, LONGEST_SIDE["JPEG"]),) * 2, Image.Resampling.BOX)
        preview = Picture(np.asarray(image))
        notes = metadata.notes(WRITTEN_AS.get(metadata.format, metadata.format))
        prepared = {self._first: self._load("").prepare(picture)}
        photo = Photo(content, name, picture.size, preview, notes, prepared)
        id = secrets.token_hex(8)
        with self._lock:
            self.photos[id] = photo
            n_bytes = {id: one.n_bytes() for id, one in self.photos.items()}
            while len(n_bytes) > 1 and sum(n_bytes.values()) > BYTES_KEPT:
                oldest = next(iter(n_bytes))
                del n_bytes[oldest], self.photos[oldest]
        return id, photo

    def before(self, photo: Photo) -> bytes:
        """Return the preview of a photo in gray as JPEG."""
        return jpeg(Image.fromarray(photo.preview.pixels).convert("L"))

    def preview(self, photo: Photo, asked: Asked) -> bytes:
        """Colour the preview of a photo and return it as JPEG; it has the colours of the file."""
        colorizer, prepared = self._prepared(photo, asked)
        [ab] = colorizer.predict([prepared])
        across, down = np.divide(photo.preview.size, photo.size)
        box = Box(*np.rint(np.multiply(prepared.box, (down, down, across, across))).astype(int))
        colored = recombine(
            photo.preview, prepared.small, ab, asked.saturation, box, prepared.spots
        )
        return jpeg(Image.fromarray(colored))

    def colours(self, photo: Photo, asked: Asked) -> list[str]:
        """Return likely colours of the place that is asked for."""
        colorizer, prepared = self._prepared(photo, asked)
        return likely_colours(colorizer.network, photo.preview, prepared, asked.x, asked.y)

    def file(self, photo: Photo, asked: Asked) -> tuple[str, ColoredFile]:
        """Colour a photo and return the name for its file, and the file."""
        colorizer = self._load(asked.model)
        colored = colorizer.colorize_bytes(
            photo.content, saturation=asked.saturation, hints=asked.hints
        )
        by = "" if asked.model in ("", self._first) else f"_{_short(asked.model)}"
        return _file_name(photo.name, f"_colored{by}{SUFFIX_OF[colored.format]}"), colored

    def _prepared(self, photo: Photo, asked: Asked) -> tuple[Colorizer, PreparedInput]:
        model = asked.model or self._first
        colorizer = self._load(model)
        if model not in photo.prepared:
            photo.prepared[model] = colorizer.prepare(next(pages(photo.content))[0])
        return colorizer, photo.prepared[model].with_hints(asked.hints)


def examples() -> dict[str, Path]:
    """Return some bundled photos of each class by file name; empty outside of the project."""
    photos = sorted(paths.SAMPLE.glob("*/*.webp"))
    step = max(1, len(photos) // EXAMPLES)
    return {photo.name: photo for photo in photos[step // 2 :: step][:EXAMPLES]}


def gray_jpeg(path: Path) -> bytes:
    """Return a picture in gray as JPEG."""
    with Image.open(path) as image:
        return jpeg(image.convert("L"))


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
