"""What the page can do: which models there are, colouring with one, results to fetch."""

from __future__ import annotations

import io
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from colorgan import paths
from colorgan.config import SPACES
from colorgan.errors import ColorganError
from colorgan.inference.colorizer import Colorizer
from colorgan.inference.compare import previews
from colorgan.inference.single import colorize_bytes

MODELS_KEPT = 4
RESULTS_KEPT = 24
RUNS_SHOWN = 30
EXAMPLES = 12
RUN = "runs:/"


@dataclass(frozen=True)
class Choice:
    """A model that can be chosen: what `--model` takes, and what a person reads."""

    id: str
    label: str


@dataclass(frozen=True)
class Result:
    """A coloured photo, as long as it is kept.

    Attributes:
        name: of the file to download.
        files: `before` and `after` as JPEG for the page, `file` as it is downloaded.
        media_type: of `file`.
        size: width and height of `file`.
        seconds: how long it took.
    """

    name: str
    files: dict[str, bytes]
    media_type: str
    size: tuple[int, int]
    seconds: float


class Studio:
    """Models and results of the page.

    Args:
        device: `auto`, `cpu`, `cuda` or `mps`.
        model: the one that is chosen at first.
    """

    def __init__(self, device: str, model: str) -> None:
        self._device, self._first = device, model
        self._colorizers: OrderedDict[str, Colorizer] = OrderedDict()
        self._results: OrderedDict[str, Result] = OrderedDict()
        # One photo at a time: a second one would not be done sooner.
        self._lock = threading.Lock()
        self._colorizer(model)

    def choices(self) -> list[Choice]:
        """Return the models there are, the first one first."""
        found = {self._first: Choice(self._first, self._first)}
        if paths.pretrained().is_dir():
            found.setdefault(paths.PRETRAINED, Choice(paths.PRETRAINED, "pretrained"))
        for space in SPACES:
            if paths.model(space).is_dir():
                found.setdefault(space, Choice(space, f"{space.upper()}, trained here"))
        for choice in _runs():
            found.setdefault(choice.id, choice)
        return list(found.values())

    def colorize(self, content: bytes, name: str, model: str, saturation: float) -> str:
        """Colour an encoded photo and return the id of the result.

        Raises:
            ColorganError: `model` is none of the choices, or cannot be loaded.
            UnreadablePhoto: the content is no picture that can be read.
            ValueError: its format does not hold it.
        """
        with self._lock:
            start = time.perf_counter()
            colored = colorize_bytes(content, self._colorizer(model), saturation=saturation)
            seconds = time.perf_counter() - start
        before, after = previews(colored.photo, colored.pixels)
        result = Result(
            name=colored.name(name, by="" if model == self._first else _short(model)),
            files={"before": before, "after": after, "file": colored.content},
            media_type=f"image/{colored.format.lower()}",
            size=(colored.photo.width, colored.photo.height),
            seconds=seconds,
        )
        id = secrets.token_hex(8)
        self._results[id] = result
        while len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)
        return id

    def result(self, id: str) -> Result | None:
        """Return a result; None if it is not kept any longer."""
        return self._results.get(id)

    def _colorizer(self, model: str) -> Colorizer:
        if model not in self._colorizers:
            # Not any path that a request may name.
            if self._colorizers and model not in {choice.id for choice in self.choices()}:
                raise ColorganError(f"there is no model {model!r} here")
            self._colorizers[model] = Colorizer.load(model, self._device)
            while len(self._colorizers) > MODELS_KEPT:
                self._colorizers.popitem(last=False)
        self._colorizers.move_to_end(model)
        return self._colorizers[model]


def examples() -> dict[str, Path]:
    """Return bundled photos by name, spread over their classes; none outside of the project."""
    photos = sorted(paths.SAMPLE.glob("*/*.webp"))
    step = max(1, len(photos) // EXAMPLES)
    return {photo.name: photo for photo in photos[step // 2 :: step][:EXAMPLES]}


def gray_jpeg(path: Path) -> bytes:
    """Return a picture without its colours, as JPEG: what there is to colour."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("L").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _short(model: str) -> str:
    """Return what tells a model apart: many runs have the same name."""
    return model.removeprefix(RUN)[:8] if model.startswith(RUN) else model


def _runs() -> list[Choice]:
    try:
        from colorgan.tracking.mlflow_read import TrainingRuns

        runs = TrainingRuns()
        return [
            Choice(RUN + run.id, f"{run.name} · {_short(RUN + run.id)}")
            for space in SPACES
            for run in runs.with_weights(f"train_{space}", RUNS_SHOWN)
        ]
    except (ColorganError, ModuleNotFoundError):
        # No store, none that answers, or no MLflow: then there are no runs to choose from.
        return []
