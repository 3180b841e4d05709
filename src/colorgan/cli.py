"""The command line: one thin function for each command, with heavy imports inside."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections import Counter
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, get_args

import typer

from colorgan.cli_cluster import app as cluster_app
from colorgan.cli_options import Format, Name, Saturation, Space
from colorgan.errors import ColorganError, redact

if TYPE_CHECKING:
    from colorgan.config import Params

WIDEST_TABLE = 100
app = typer.Typer(
    name="colorgan",
    help="Train GANs that colour gray photographs, and colour your own photos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cluster_app, name="cluster", rich_help_panel="Many machines")

OneSpace = Annotated[Name | None, typer.Argument(help="rgb or lab; default: both")]
MODEL = "pretrained, rgb, lab, a model folder, an ONNX file, or an MLflow run (name or runs:/ID)"
Model = Annotated[str, typer.Option(help=MODEL)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
STAGE = "Stages (what `dvc repro` runs)"
TOOLS = "Tools"
PHOTOS = "Photos"
INTERRUPTED = 128 + signal.SIGINT
EXTRAS = {"mlflow": "colorgan[pipeline]"}
EXTRAS |= dict.fromkeys(("onnx", "onnxscript"), "colorgan[onnx]")
EXTRAS |= dict.fromkeys(("optuna", "ray"), "colorgan[cluster]")
EXTRAS |= dict.fromkeys(("anyio", "starlette", "uvicorn"), "colorgan[app]")
"""Packages that may be missing, and what installs each."""


@app.command(rich_help_panel=STAGE)
def download(space: Space) -> None:
    """Fetch the photos of rgb or lab into data/raw."""
    from colorgan.data.download import download as run

    typer.echo(f"download {space}: {run(_params(), space)} files")


@app.command(rich_help_panel=STAGE)
def preprocess(space: Space) -> None:
    """Turn the photos of a space into the arrays it trains on."""
    from colorgan.data.preprocess import preprocess as run

    info = run(_params(), space)
    counts = ", ".join(f"{n} {split}" for split, n in info.counts.items())
    typer.echo(
        f"preprocess {space}: {counts} photos of {info.image_size} px, {info.rejected} rejected"
    )


@app.command(rich_help_panel=STAGE)
def train(space: Space) -> None:
    """Train the generator of a space against its discriminator; resume if it was stopped."""
    from colorgan.training.train import train as run

    raise typer.Exit(run(_params(), space))


@app.command(rich_help_panel=STAGE)
def evaluate(space: OneSpace = None) -> None:
    """Measure the colours of the trained generators on the test photos."""
    from colorgan.evaluation.evaluate import evaluate as run

    run(_params(), _spaces(space))
    _print_metrics()


@app.command(rich_help_panel=STAGE)
def render_grids(space: OneSpace = None) -> None:
    """Draw grids, curves and histograms, and write the report."""
    from colorgan import paths
    from colorgan.reporting.render_grids import render_grids as run

    run(_params(), _spaces(space))
    typer.echo(f"render-grids: {paths.GRIDS}, {paths.REPORT}")


@app.command(rich_help_panel=TOOLS)
def summary() -> None:
    """Print the metrics table and where the results lie."""
    from colorgan import paths

    _print_metrics()
    typer.echo(
        f"Report    {paths.REPORT} (open it in a browser)\n"
        f"Pictures  {paths.GRIDS}\n"
        "Runs      make ui, then http://127.0.0.1:5000"
    )


@app.command(rich_help_panel=TOOLS)
def preset(
    name: Annotated[str, typer.Argument(help="Name of the preset; leave it out to list them")] = "",
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
def check_photos() -> None:
    """Check the photos that params.yaml names, before DVC fails or waits for ever at one."""
    from colorgan.presets import check_photos as run

    params = _params()
    for path in dict.fromkeys((params.rgb.data.path, params.lab.data.path)):
        run(Path(path))


@app.command(rich_help_panel=TOOLS)
def verify(
    space: Space,
    run: Annotated[
        str, typer.Option(help="Id or name of an MLflow run; left out, the run of models/<space>")
    ] = "",
) -> None:
    """Train a recorded run again in a git worktree and compare the weights."""
    from colorgan.verify import DECIDES_BITS
    from colorgan.verify import verify as check

    difference = check(space, run)
    typer.echo(difference or "the retrained generator agrees, bit for bit")
    if difference:
        typer.echo(DECIDES_BITS)
    raise typer.Exit(int(bool(difference)))


@app.command(rich_help_panel=TOOLS)
def sync() -> None:
    """Send MLflow the runs that it lacks because it was away or they were killed."""
    from colorgan.tracking.run import sync as run

    typer.echo(run())


@app.command(rich_help_panel=TOOLS)
def ui(
    port: Annotated[int, typer.Option(help="Port of the page")] = 5000,
    host: Annotated[str, typer.Option(help="Address it listens on")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on this project's runs."""
    from colorgan.tracking.ui import serve_ui

    serve_ui(host, port)


@app.command(rich_help_panel=PHOTOS)
def colorize(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Pictures, folders, or patterns")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder; for a single picture also a file")
    ],
    model: Model = "pretrained",
    format: Format = "keep",
    saturation: Saturation = 1.0,
    compare: Annotated[
        Literal["side", "slider"] | None,
        typer.Option(help="Write before and after too: `side` by side, or a `slider` page"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results (never an input)")
    ] = False,
    side: Annotated[
        int, typer.Option(min=0, max=4096, help="Shorter side of the network's copy; 0 its own")
    ] = 0,
    hint: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y=COLOUR", help="Colour of a place, pixels or 0.0 to 1.0; repeat"),
    ] = None,
    hints_from: Annotated[
        Path | None, typer.Option(help="Hints of an earlier result, or of a file *.hints.json")
    ] = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once")] = 8,
    max_megapixels: Annotated[
        float, typer.Option(min=0.000001, max=1_000_000, help="Refuse larger pictures")
    ] = 200.0,
) -> None:
    """Colour pictures: each keeps its size, its lightness, its format and its metadata.

    Folders keep their structure. What cannot be coloured is listed at the end; the rest is done.
    """
    from rich.console import Console

    from colorgan.inference.colorizer import Colorizer
    from colorgan.inference.files import Options, colorize_files
    from colorgan.inference.hint_files import read_hints
    from colorgan.inference.hints import Hint

    kind = "" if format == "keep" else format.upper()
    hints = read_hints(hints_from) if hints_from else []
    hints += map(Hint.parse, hint or ())
    options = Options(
        hints=hints, format=kind, saturation=saturation, comparison=compare, overwrite=overwrite,
        batch_size=batch_size, max_megapixels=max_megapixels,
    )  # fmt: skip
    colorizer = Colorizer.load(model, device, side)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_once)
    outcome = colorize_files(inputs, out, colorizer, options, Console(stderr=True))
    lines = [f"{len(outcome.colored)} coloured, in {out}"]
    if outcome.skipped:
        lines.append(f"{outcome.skipped} were there already; --overwrite makes them anew")
    reasons = Counter(file.reason for file in outcome.left_out)
    lines += [f"{count} left out: {reason}" for reason, count in reasons.items()]
    lines += [f"{source}: {note}" for source, note in sorted(outcome.notes.items())]
    if outcome.lost:
        lines.append(f"not kept: {', '.join(sorted(outcome.lost))}")
    for line in lines:
        typer.echo(_printable(f"colorize: {line}"))
    for source, reason in sorted(outcome.failures.items()):
        typer.echo(_printable(f"colorgan: {source}: {reason}"), err=True)
    if failed := outcome.failures.keys() - outcome.colored:
        typer.echo(f"colorgan: {len(failed)} could not be coloured", err=True)
    if outcome.exit_code:
        typer.echo("colorgan: stopped; the same command colours the rest", err=True)
        sys.stdout.flush()
        os._exit(outcome.exit_code)  # not waiting for threads that are still at work
    raise typer.Exit(int(bool(outcome.failures)))


@app.command(rich_help_panel=PHOTOS)
def export(
    out: Annotated[Path, typer.Argument(help="File to write, such as colorgan.onnx")],
    model: Model = "pretrained",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file")] = False,
) -> None:
    """Export a model as an ONNX file for any batch and picture size, and compare it with PyTorch.

    `colorgan colorize --model FILE.onnx` colours with it, without torch.
    """
    from colorgan.inference.backends import load_model
    from colorgan.inference.export import export as run

    if out.suffix != ".onnx":
        raise ColorganError(f"{out} should end with .onnx")
    if out.exists() and not overwrite:
        raise ColorganError(f"{out} exists; --overwrite replaces it")
    difference = run(load_model(model, "cpu"), out)
    typer.echo(
        f"export: {out}, {out.stat().st_size / 1e6:.1f} MB; largest difference from torch "
        f"{difference:.1e}"
    )


@app.command("app", rich_help_panel=PHOTOS)
def serve_page(
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 for other machines")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any")] = 7860,
    model: Model = "pretrained",
    device: Device = "auto",
    max_megabytes: Annotated[float, typer.Option(min=0.001, max=10_000, help="Of a file")] = 50.0,
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=10_000, help="Of a photo")] = 50.0,
) -> None:
    """Serve a web page that colours photos, for this machine alone unless --host says otherwise."""
    from colorgan.serving.web import serve

    serve(host, port, model, device, max_megabytes, max_megapixels)


@app.command(rich_help_panel=PHOTOS)
def promote(space: OneSpace = None) -> None:
    """Register the best run on the present data in MLflow as the champion, and say why.

    `mlflow models serve -m models:/colorgan-lab@champion --env-manager local` then serves it.
    """
    from colorgan.serving.promote import promote as run

    for one in _spaces(space):
        typer.echo(f"promote: {run(one)}")


def _params() -> Params:
    from colorgan.config import load_params

    return load_params()


def _print_metrics() -> None:
    from rich.console import Console

    from colorgan.reporting.results import metrics_table

    console = Console()
    # A line that wraps can be read, a column that is cut off cannot.
    console.width = max(console.width, WIDEST_TABLE)
    console.print(metrics_table())


def _spaces(space: Name | None) -> tuple[Name, ...]:
    return get_args(Name) if space is None else (space,)


def _end_once(number: int, _: object) -> NoReturn:
    """End at the first signal, and ignore a second one, which would interrupt the end."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    """Run the command line; an error the user can mend is one sentence, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # Not every terminal has all the characters of a file name.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # End as after Ctrl-C, so that cleanup runs.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        # typer returns the code of typer.Exit, and 130 after Ctrl-C.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except ColorganError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        install = f"pip install '{EXTRAS[package]}'"
        _fail(f"this command needs {package}, which is not installed: {install}", 1)
    except (KeyboardInterrupt, typer.Abort):
        if "RANK" in os.environ:
            # The process that launched this one prints the sentence.
            sys.exit(INTERRUPTED)
        _fail("interrupted; the last complete results are untouched", INTERRUPTED)
    except OSError as error:
        if error.errno is None:
            raise
        _fail(_sentence(error), 1)
    except Exception as error:
        # typer's errors about arguments print themselves.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(getattr(error, "exit_code", 2))


def _sentence(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        place = Path(error.filename or "file").absolute().parent
        return (
            f"no space left on the disk of {place}; the last complete results are untouched, free "
            "some space and run the same command again"
        )
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _printable(line: str) -> str:
    """Return a line with what would break it or steer the terminal escaped, as in file names."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _fail(sentence: str, code: int) -> NoReturn:
    for line in redact(sentence).splitlines():
        print(_printable(f"colorgan: {line}"), file=sys.stderr)
    sys.exit(code)
