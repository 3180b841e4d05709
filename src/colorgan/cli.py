"""The command line: a thin command a stage, and those a person uses. Heavy imports lie inside."""

from __future__ import annotations

import errno
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from colorgan import cli_photos
from colorgan.errors import ColorganError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from colorgan.config import SpaceName

app = typer.Typer(
    name="colorgan",
    help="Train GANs that colour gray photographs, and colour yours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class SpaceArgument(StrEnum):
    """The two formulations, as the command line takes them."""

    rgb = "rgb"
    lab = "lab"


Space = Annotated[SpaceArgument, typer.Argument(help="rgb or lab")]
OneSpace = Annotated[SpaceArgument | None, typer.Argument(help="rgb or lab; both if left out")]
STAGE = "Stages (what `dvc repro` runs)"
TOOLS = "Tools"
INTERRUPTED = 128 + signal.SIGINT


@app.command(rich_help_panel=STAGE)
def download(space: Space) -> None:
    """Fetch the photos of a space into data/raw."""
    from colorgan.config import load_params
    from colorgan.data.download import download as run

    n_files = run(load_params(), space.value)
    typer.echo(f"download {space.value}: {n_files} files")


@app.command(rich_help_panel=STAGE)
def preprocess(space: Space) -> None:
    """Turn the photos of a space into the arrays it trains on."""
    from colorgan.config import load_params
    from colorgan.data.preprocess import preprocess as run

    info = run(load_params(), space.value)
    counts = ", ".join(f"{n} {split}" for split, n in info.counts.items())
    typer.echo(
        f"preprocess {space.value}: {counts} photos of {info.image_size} px, "
        f"{info.rejected} rejected"
    )


@app.command(rich_help_panel=STAGE)
def train(space: Space) -> None:
    """Train the generator of a space against its discriminator; goes on where it was stopped."""
    from colorgan.config import load_params
    from colorgan.training.train import train as run

    raise typer.Exit(run(load_params(), space.value))


@app.command(rich_help_panel=STAGE)
def evaluate(space: OneSpace = None) -> None:
    """Measure the colours of the trained generators on the test photos."""
    from rich.console import Console

    from colorgan.config import load_params
    from colorgan.evaluation.evaluate import evaluate as run
    from colorgan.evaluation.summary import metrics_table

    params = load_params()
    run(params, _spaces(space))
    Console().print(metrics_table(hue_tolerance=params.evaluate.hue_tolerance))


@app.command(rich_help_panel=STAGE)
def render_grids(space: OneSpace = None) -> None:
    """Draw grids, curves and histograms, and write the report."""
    from colorgan import paths
    from colorgan.config import load_params
    from colorgan.reporting.render_grids import render_grids as run

    run(load_params(), _spaces(space))
    typer.echo(f"render-grids: {paths.GRIDS}, {paths.REPORT}")


@app.command(rich_help_panel=TOOLS)
def summary() -> None:
    """Print the metrics table and where the results lie."""
    from rich.console import Console

    from colorgan import paths
    from colorgan.config import load_params
    from colorgan.evaluation.summary import metrics_table

    console = Console()
    console.print(metrics_table(hue_tolerance=load_params().evaluate.hue_tolerance))
    console.print(
        f"Report    {paths.REPORT} (open it in a browser)\n"
        f"Pictures  {paths.GRIDS}\n"
        "Runs      make ui, then http://127.0.0.1:5000"
    )


@app.command(rich_help_panel=TOOLS)
def preset(
    name: Annotated[str, typer.Argument(help="Name of the preset; without one, a list")] = "",
    write: Annotated[bool, typer.Option("--write", help="Put the values into params.yaml")] = False,
    path: Annotated[
        Path | None,
        typer.Option(help="For `photos`: Parquet file, folder of them, or folder of pictures"),
    ] = None,
) -> None:
    """Print a named set of parameters as options for `dvc exp run`, or write it.

    For one experiment: dvc exp run $(python -m colorgan preset quick).
    For good: python -m colorgan preset quick --write; `preset default --write` goes back.
    Photos of your own: preset photos --path PATH.
    """
    from colorgan import presets

    if not name:
        for known, description in presets.descriptions().items():
            typer.echo(f"{known:10} {description}")
    elif write:
        presets.write(name, path)
    else:
        typer.echo(presets.as_options(name, path))


@app.command(rich_help_panel=TOOLS)
def verify(
    space: Space,
    run: Annotated[
        str, typer.Option(help="Id or name of an MLflow run; left out, the run of models/<space>")
    ] = "",
) -> None:
    """Train a recorded run again in a git worktree and compare the weights."""
    from colorgan.verify import verify as check

    differences = check(space.value, run)
    for sentence in differences or ["the retrained generator agrees, bit for bit"]:
        typer.echo(sentence)
    raise typer.Exit(int(bool(differences)))


@app.command(rich_help_panel=TOOLS)
def sync() -> None:
    """Send MLflow what earlier runs could not send, because it was away or they were killed."""
    from colorgan.tracking.run import sync as run

    typer.echo(run())


@app.command(rich_help_panel=TOOLS)
def ui(
    port: Annotated[int, typer.Option(help="Port of the page")] = 5000,
    host: Annotated[str, typer.Option(help="Address it listens on")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on this project's runs."""
    from colorgan.tracking.ui import serve_ui

    raise typer.Exit(serve_ui(host, port))


cli_photos.add_to(app)


def _spaces(space: SpaceArgument | None) -> Sequence[SpaceName]:
    from colorgan.config import SPACES

    return SPACES if space is None else (space.value,)


def main() -> None:
    """Run the command line; what the user can mend is said in one sentence, without traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        # typer takes Ctrl-C for itself and returns 130, where other versions raise Abort.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        # What a command ends with by typer.Exit is returned here, not raised.
        if isinstance(code, int) and code:
            sys.exit(code)
    except ColorganError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        if "COLORGAN_LAUNCHER" in os.environ:
            # Who has launched this process says it.
            sys.exit(INTERRUPTED)
        _fail("interrupted; the last complete results are untouched", INTERRUPTED)
    except OSError as error:
        if error.errno is None or os.environ.get("COLORGAN_TRACEBACK"):
            raise
        _fail(_said(error), 1)
    except Exception as error:
        # What typer says of the arguments: it knows how to show it.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(getattr(error, "exit_code", 2))


def _said(error: OSError) -> str:
    """Say an error of the system with the file it is about."""
    if error.errno == errno.ENOSPC:
        place = Path(error.filename or "file").absolute().parent
        return (
            f"no space left on the disk of {place}; the last complete results are untouched, free "
            "some space and run the same command again"
        )
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}"


def _fail(sentence: str, code: int) -> NoReturn:
    for line in sentence.splitlines():
        print(f"colorgan: {line}", file=sys.stderr)
    sys.exit(code)


def _terminate(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    """End as on Ctrl-C, so that nothing half-written stays, with the code of a SIGTERM."""
    sys.exit(128 + number)
