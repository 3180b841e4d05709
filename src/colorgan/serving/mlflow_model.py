"""The MLflow model: encoded pictures in, coloured PNGs out. MLflow runs this file (no pickle)."""

from __future__ import annotations

import base64
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from colorgan.errors import describe
from colorgan.inference.colorizer import Colorizer

COLUMN = "image"


class ServedColorizer(PythonModel):  # type: ignore[misc]
    """Colours the pictures of a column `image`; gives a column `png` and a column `error`.

    An image is bytes, or text in base64, with or without `data:...;base64,` before it. `png` is in
    base64 and empty where `error` says why. The parameter `saturation` multiplies the chroma.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the generator that lies with the model."""
        self._colorizer = Colorizer.load(context.artifacts["generator"])

    # Without types: MLflow would take them for a signature, and has one.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Colour each picture by itself: one that cannot be read does not stop the others."""
        saturation = float((params or {}).get("saturation", 1.0))
        images = model_input[COLUMN] if isinstance(model_input, pd.DataFrame) else model_input
        rows = [self._colored(image, saturation) for image in images]
        return pd.DataFrame(rows, columns=["png", "error"])

    def _colored(self, image: Any, saturation: float) -> tuple[str, str]:
        try:
            content = image if isinstance(image, bytes) else _from_base64(image)
            colored = self._colorizer.colorize_bytes(content, saturation=saturation, format="PNG")
        except Exception as error:
            # One row must not end the others.
            return "", describe(error)
        return base64.b64encode(colored.content).decode("ascii"), ""


def _from_base64(text: Any) -> bytes:
    try:
        # Some encoders break it into lines.
        return base64.b64decode("".join(text.rpartition(",")[2].split()), validate=True)
    except (AttributeError, ValueError):
        raise ValueError("an image should be bytes, or text in base64") from None


set_model(ServedColorizer())
