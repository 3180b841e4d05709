"""A tiny untrained model that gives visible colours, and the command that colours with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colorgan import paths
from colorgan.config import Params
from trained import save_tiny


@pytest.fixture
def model(project: Path, make_params: Callable[..., Params]) -> Path:
    """models/lab of the working directory."""
    return save_tiny(paths.model("lab"), "lab", make_params(), seed=0)


@pytest.fixture
def colorize(model: Path, colorgan: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs `colorgan colorize` with the tiny model, in this process."""
    return lambda *arguments: colorgan(
        "colorize", *map(str, arguments), "--model", str(model), "--device", "cpu"
    )
