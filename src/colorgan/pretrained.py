"""The generator that comes with the project, and inside its wheel: models/pretrained."""

from __future__ import annotations

from pathlib import Path

from colorgan import paths

NAME = "pretrained"
ONNX = "generator.onnx"
"""The same generator as ONNX Runtime takes it, its weights in half precision."""
IN_THE_WHEEL = Path(__file__).parent / "models" / NAME
IN_THE_CHECKOUT = Path(__file__).parents[2] / "models" / NAME
"""Where the package is installed from a checkout (editable), the command may be run anywhere."""


def folder() -> Path:
    """Return the folder with its weights: of the project here, the wheel, or the checkout."""
    own = paths.model(NAME)
    found = (place for place in (own, IN_THE_WHEEL, IN_THE_CHECKOUT) if place.is_dir())
    return next(found, own)
