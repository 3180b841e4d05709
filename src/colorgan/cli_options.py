"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Name = Literal["rgb", "lab"]
Space = Annotated[Name, typer.Argument(help="rgb or lab")]
Format = Annotated[
    Literal["keep", "jpeg", "png", "webp", "tiff", "bmp", "avif"],
    typer.Option(help="Format of the results; `keep` is that of each picture"),
]
Saturation = Annotated[
    float, typer.Option(min=0.0, max=4.0, help="1 as predicted, 0 gray, 1.3 stronger")
]
