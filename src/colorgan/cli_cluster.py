"""`colorgan cluster ...`: one thin function for each command, which imports Ray."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from colorgan.cli_options import Format, Saturation, Space

app = typer.Typer(
    help="Do the same on a Ray cluster; this needs the extra `cluster`.", no_args_is_help=True
)
Address = Annotated[
    str,
    typer.Option(help="HOST:PORT of the cluster; default: RAY_ADDRESS, or that of this machine"),
]
Workers = Annotated[
    int,
    typer.Option(min=0, help="Processes at once; 0 is one a GPU, or a core where there is none"),
]
SHOWN = 20
"""So many failures are printed; the manifest has them all."""


@app.command()
def colorize(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Folder, or URI such as s3://bucket/scans")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Another folder or URI, new or begun")],
    model: Annotated[str, typer.Option(help="As of colorgan colorize")] = "pretrained",
    format: Format = "keep",
    saturation: Saturation = 1.0,
    workers: Workers = 0,
    address: Address = "",
) -> None:
    """Colour a folder or a bucket; what became of each picture is in OUT/_colorgan/manifest.

    The same command again does what is missing.
    """
    from colorgan.cluster.colorize import colorize_collection
    from colorgan.cluster.session import joined
    from colorgan.inference.files import Options

    options = Options(format="" if format == "keep" else format.upper(), saturation=saturation)
    with joined(address):
        rows = colorize_collection(source, out, model, options, workers)
    counts = sorted(Counter(row["status"] for row in rows).items())
    counted = ", ".join(f"{count:,} {status}" for status, count in counts)
    typer.echo(f"colorize: {counted}; _colorgan/manifest in {out} lists them")
    failed = [f"{row['input']}: {row['reason']}" for row in rows if row["status"] == "failed"]
    for sentence in failed[:SHOWN]:
        typer.echo(f"colorgan: {sentence}", err=True)
    raise typer.Exit(int(bool(failed)))


@app.command()
def preprocess(space: Space, workers: Workers = 0, address: Address = "") -> None:
    """Make the arrays of a space; `dvc commit -f preprocess@lab` then takes them as the stage's."""
    from colorgan.cluster.preprocess import preprocess_on_cluster
    from colorgan.cluster.session import joined
    from colorgan.config import load_params

    params = load_params()
    with joined(address):
        info = preprocess_on_cluster(params, space, workers)
    counts = ", ".join(f"{n} {split}" for split, n in info.counts.items())
    typer.echo(f"preprocess {space}: {counts} photos, {info.rejected} rejected")


@app.command()
def train(space: Space, workers: Workers = 0, address: Address = "") -> None:
    """Train the generator of a space on several machines, which share the project's folder.

    Goes on with fewer workers when some have died; the same command resumes.
    """
    from colorgan.cluster.session import joined
    from colorgan.cluster.train import train_on_cluster
    from colorgan.config import load_params

    params = load_params()
    with joined(address):
        train_on_cluster(params, space, workers)


@app.command()
def tune(
    space: Space,
    trials: Annotated[int, typer.Option(min=1, help="Trainings to try")] = 20,
    file: Annotated[
        Path | None, typer.Option(help="YAML file of what to try; default: cluster/tune.yaml")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search that was stopped")
    ] = False,
    workers: Workers = 0,
    address: Address = "",
) -> None:
    """Search for better parameters: many trainings at once, of which the worse are stopped early.

    Each is a run in MLflow below one of the search; at the end the best values are printed.
    """
    from colorgan.cluster.session import joined
    from colorgan.cluster.tune import tune_on_cluster

    with joined(address):
        tune_on_cluster(space, file, trials, workers, resume=resume)
