"""The generator that comes with the project, and inside its wheel: models/pretrained."""

from __future__ import annotations

from pathlib import Path

from colorgan import paths

NAME = "pretrained"
ONNX = "generator.onnx"
"""The same generator as ONNX Runtime takes it, its weights in half precision."""
IN_THE_WHEEL = Path(__file__).parent / "models" / NAME


def folder() -> Path:
    """Return the folder with its weights: that of the project, else that of the installed wheel."""
    own = paths.model(NAME)
    return own if own.is_dir() or not IN_THE_WHEEL.is_dir() else IN_THE_WHEEL
