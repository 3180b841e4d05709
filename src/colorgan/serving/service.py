"""What the page of `colorgan app` can do: list models, colour a photo, keep the results."""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from colorgan import paths
from colorgan.config import SPACES
from colorgan.errors import ColorganError
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.formats import previews

MODELS_KEPT = 4
RESULTS_KEPT = 24
RUNS_SHOWN = 30
EXAMPLES = 12
RUN = "runs:/"


@dataclass(frozen=True)
class ModelChoice:
    """A model that the page offers: its id, as `--model` takes it, and a label to show."""

    id: str
    label: str


@dataclass(frozen=True)
class Result:
    """A coloured photo.

    Attributes:
        name: file name for the download.
        files: `before` and `after` as JPEG for the page, and the `file` to download.
        media_type: of `file`.
        size: width and height of `file`.
        seconds: time it took.
    """

    name: str
    files: dict[str, bytes]
    media_type: str
    size: tuple[int, int]
    seconds: float


class ColorizeService:
    """Colours photos with any of the models there are and keeps the last results in memory.

    Args:
        device: `auto`, `cpu`, `cuda` or `mps`.
        model: the model that is chosen at first.

    Raises:
        ColorganError: the model cannot be loaded.
    """

    def __init__(self, device: str, model: str) -> None:
        self._device, self._first = device, model
        self._colorizers: OrderedDict[str, Colorizer] = OrderedDict()
        self._results: OrderedDict[str, Result] = OrderedDict()
        # One photo at a time: two would share the same cores.
        self._lock = threading.Lock()
        self._colorizer(model)

    def models(self) -> list[ModelChoice]:
        """Return the models there are: the first one, bundled, trained here, of MLflow runs."""
        choices = [ModelChoice(self._first, self._first)]
        if paths.pretrained().is_dir():
            choices.append(ModelChoice(paths.PRETRAINED, "pretrained"))
        for space in SPACES:
            if paths.model(space).is_dir():
                choices.append(ModelChoice(space, f"{space.upper()}, trained here"))
        unique: dict[str, ModelChoice] = {}
        for choice in choices + _runs():
            unique.setdefault(choice.id, choice)
        return list(unique.values())

    def colorize(self, content: bytes, name: str, model: str, saturation: float) -> str:
        """Colour an encoded photo and return the id of the result.

        Raises:
            ColorganError: `model` is not offered, or cannot be loaded.
            UnreadablePhoto: the content is no picture that can be read.
            ValueError: the photo is too large for its format, or the saturation out of range.
        """
        with self._lock:
            start = time.perf_counter()
            colored = self._colorizer(model).colorize_bytes(content, saturation=saturation)
            seconds = time.perf_counter() - start
        before, after = previews(colored.picture, colored.pixels)
        by = "" if model == self._first else f"_{_short(model)}"
        id = secrets.token_hex(8)
        self._results[id] = Result(
            name=f"{PurePath(name or 'photo').stem}_colored{by}{colored.suffix}",
            files={"before": before, "after": after, "file": colored.content},
            media_type=f"image/{colored.format.lower()}",
            size=(colored.picture.width, colored.picture.height),
            seconds=seconds,
        )
        while len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)
        return id

    def result(self, id: str) -> Result | None:
        """Return a result, or None if it is no longer kept."""
        return self._results.get(id)

    def _colorizer(self, model: str) -> Colorizer:
        if model not in self._colorizers:
            # A request must not name any path it likes.
            if self._colorizers and model not in {choice.id for choice in self.models()}:
                raise ColorganError(f"there is no model {model!r} here")
            self._colorizers[model] = Colorizer.load(model, self._device)
            while len(self._colorizers) > MODELS_KEPT:
                self._colorizers.popitem(last=False)
        self._colorizers.move_to_end(model)
        return self._colorizers[model]


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


def _short(model: str) -> str:
    """Return a model's id, of a run its first 8 digits: many runs have the same name."""
    return model.removeprefix(RUN)[:8] if model.startswith(RUN) else model


def _runs() -> list[ModelChoice]:
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns

        runs = TrainingRuns()
        return [
            ModelChoice(RUN + run.id, f"{run.name} · {_short(RUN + run.id)}")
            for space in SPACES
            for run in runs.with_weights(f"train_{space}", RUNS_SHOWN)
        ]
    except (ColorganError, ModuleNotFoundError):
        # There is no store, it does not answer, or MLflow is not installed.
        return []
