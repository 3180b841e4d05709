"""The commands for who has photos to colour. Heavy imports lie inside, as in cli.py."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

PHOTOS = "Photos"

Model = Annotated[
    str,
    typer.Option(
        help="pretrained, rgb, lab, a folder with a generator, an ONNX file, or an MLflow run"
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]


class FormatOption(StrEnum):
    """Formats that pictures are written in."""

    keep = "keep"
    jpeg = "jpeg"
    png = "png"
    webp = "webp"
    tiff = "tiff"
    bmp = "bmp"


class CompareOption(StrEnum):
    """What is written beside each picture."""

    side = "side"
    slider = "slider"


def colorize(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures, folders, or patterns")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder; for a single picture also a file")
    ],
    model: Model = "pretrained",
    format: Annotated[
        FormatOption, typer.Option(help="Format of the results; `keep` is that of each picture")
    ] = FormatOption.keep,
    saturation: Annotated[
        float, typer.Option(min=0.0, max=4.0, help="1 as predicted, 0 gray, 1.3 stronger")
    ] = 1.0,
    compare: Annotated[
        CompareOption | None,
        typer.Option(help="Write before and after too: `side` by side, or a `slider` page"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results (never an input)")
    ] = False,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG and WebP")] = 95,
    side: Annotated[
        int,
        typer.Option(
            min=0, max=4096, help="Pixels on the shorter side of what the network sees; 0 its own"
        ),
    ] = 0,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once")] = 8,
    max_megapixels: Annotated[
        float, typer.Option(min=0.000001, max=1_000_000, help="Refuse larger pictures")
    ] = 200.0,
) -> None:
    """Colour pictures: each keeps its size, its lightness, its format and its metadata.

    Gray or in colour, of 8 or 16 bits, with or without alpha. Folders keep their structure. What
    cannot be coloured is listed at the end; the rest is done.
    """
    from rich.console import Console

    from colorgan.errors import ColorganError
    from colorgan.inference.colorizer import Colorizer
    from colorgan.inference.files import Options
    from colorgan.inference.files import colorize as run

    for name, value in (("--saturation", saturation), ("--max-megapixels", max_megapixels)):
        if not math.isfinite(value):
            raise ColorganError(f"{name} is {value}; it should be a number")
    options = Options(
        format="" if format is FormatOption.keep else format.value.upper(),
        saturation=saturation,
        comparison=compare.value if compare else None,
        overwrite=overwrite,
        batch_size=batch_size,
        max_megapixels=max_megapixels,
        quality=quality,
    )
    colorizer = Colorizer.load(model, device, side)
    outcome = run(inputs, out, colorizer, options, Console(stderr=True))
    typer.echo(f"colorize: {outcome.colored} coloured, in {out}")
    if outcome.there:
        typer.echo(f"colorize: {outcome.there} were there already; --overwrite makes them anew")
    for failure in outcome.failures:
        typer.echo(f"colorgan: {failure.source}: {failure.reason}", err=True)
    if outcome.failures:
        typer.echo(f"colorgan: {len(outcome.failures)} could not be coloured", err=True)
        raise typer.Exit(1)


def export(
    out: Annotated[Path, typer.Argument(help="File to write, such as colorgan.onnx")],
    model: Model = "pretrained",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file")] = False,
    onnx: Annotated[  # noqa: ARG001 - the only format there is, named for who asks for it
        bool, typer.Option("--onnx", help="As ONNX, which is the only format")
    ] = True,
) -> None:
    """Write a model as an ONNX file, for batches and sizes of any kind, and compare it with torch.

    `colorgan colorize --model FILE.onnx` colours with it, without torch.
    """
    from colorgan import paths
    from colorgan.errors import ColorganError
    from colorgan.inference.backends import load_model
    from colorgan.inference.image import Photo
    from colorgan.inference.onnx_file import export as run
    from colorgan.inference.prepare import fit

    if out.suffix != ".onnx":
        raise ColorganError(f"{out} should end with .onnx")
    if out.exists() and not overwrite:
        raise ColorganError(f"{out} exists; --overwrite replaces it")
    loaded = load_model(model, "cpu")
    sample = sorted(paths.SAMPLE.glob("*/*.webp"))[::20]
    photos = [Photo.open(path) for path in sample]
    real = [fit(p, loaded.space, loaded.image_size, loaded.multiple).input for p in photos]
    exported = run(loaded, out, real)
    typer.echo(
        f"export: {exported.path}, {exported.path.stat().st_size / 1e6:.1f} MB; largest difference "
        f"from torch {exported.difference:.1e} on {exported.inputs} inputs"
    )


def page(
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 for other machines")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port")] = 7860,
    model: Model = "pretrained",
    device: Device = "auto",
    max_megabytes: Annotated[float, typer.Option(min=0.001, max=10_000, help="Of a file")] = 50.0,
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=10_000, help="Of a photo")] = 50.0,
) -> None:
    """Open a page to drop photos on, on this machine alone."""
    from colorgan.errors import ColorganError

    try:
        from colorgan.serving.web import serve
    except ModuleNotFoundError as error:
        raise ColorganError(
            f"the page needs {error.name}, which is not installed: pip install 'colorgan[app]'"
        ) from None
    serve(host, port, model, device, max_megabytes, max_megapixels)


def promote(
    space: Annotated[str, typer.Argument(help="rgb or lab; both if left out")] = "",
) -> None:
    """Make the best run on the same data the champion of MLflow's registry, and say why.

    `mlflow models serve -m models:/colorgan-lab@champion --env-manager local` then serves it.
    """
    from colorgan.config import SPACES
    from colorgan.errors import ColorganError

    try:
        from colorgan.serving.promote import promote as run
    except ModuleNotFoundError as error:
        raise ColorganError(
            f"promote needs {error.name}, which is not installed: pip install 'colorgan[pipeline]'"
        ) from None
    if space and space not in SPACES:
        raise ColorganError(f"{space!r} is no space; it should be {' or '.join(SPACES)}")
    for one in SPACES if not space else [known for known in SPACES if known == space]:
        promotion = run(one)
        where = f"{promotion.name} version {promotion.version}"
        moved = "is now" if promotion.moved else "is already"
        typer.echo(f"promote: {where} {moved} the champion: {promotion.because}")


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(rich_help_panel=PHOTOS)(colorize)
    app.command(rich_help_panel=PHOTOS)(export)
    app.command("app", rich_help_panel=PHOTOS)(page)
    app.command(rich_help_panel=PHOTOS)(promote)
