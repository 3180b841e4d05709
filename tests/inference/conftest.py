"""A tiny untrained model that gives visible colours, and the command that colours with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn import SIDE

from colorgan import paths
from colorgan.config import Params
from colorgan.model import build_generator, save_model
from colorgan.networks import initialise
from colorgan.spaces import get_space


@pytest.fixture
def model(project: Path, make_params: Callable[..., Params]) -> Path:
    """models/lab of the working directory."""
    torch.manual_seed(0)
    space, params = get_space("lab"), make_params().lab.model
    generator = build_generator(space, params, SIDE)
    initialise(generator, 0.3)
    folder = paths.model("lab")
    folder.mkdir(parents=True)
    save_model(folder, generator, space, params, SIDE)
    return folder


@pytest.fixture
def colorize(model: Path, colorgan: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs `colorgan colorize` with the tiny model, in this process."""
    return lambda *arguments: colorgan(
        "colorize", *map(str, arguments), "--model", str(model), "--device", "cpu"
    )
