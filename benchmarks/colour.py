"""The study of docs/colour.md: a row is one `dvc exp run`, measured on the test photos.

    python benchmarks/colour.py run lab-l1 lab-color     # these rows; without names all of them
    python benchmarks/colour.py table                    # the table, from MLflow
    python benchmarks/colour.py measure models/pretrained data/processed/lab

To be started in a clone whose params.yaml is that of `preset photos --path ../shared/photos
--write` and whose arrays are there (`dvc repro preprocess@rgb preprocess@lab`). Every row trains
for about as long as the others, counted in epochs, so that what else the machine does
is no part of it; a row that MLflow has is not trained again.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from colorgan import paths, pictures
from colorgan.config import SPACES, SPLITS, EvaluateParams
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import summary
from colorgan.evaluation.evaluate import measure
from colorgan.model import CONFIG, WEIGHTS, Model
from colorgan.runs.runtime import device_name
from colorgan.spaces import Space, get_space
from colorgan.tracking.mlflow_read import TrainingRun, TrainingRuns
from colorgan.tracking.run import record_results
from colorgan.tracking.store import tracking_uri

# Beside this file.
from colour_rows import ROWS, Row  # isort: skip
from colour_table import figures_of, keep, kept, markdown  # isort: skip

# After colorgan's, which tells MLflow what to be silent about.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Run  # isort: skip

STAGE = "study"
EVALUATE = EvaluateParams(
    batch_size=32, chromatic=10.0, hue_tolerance=30.0, frechet=True, fid=False, lpips=False
)

BASELINES = [
    (f"{space}-{name}", f"{space.upper()}: {title}")
    for space in SPACES
    for name, title in (("gray", "gray"), ("mean", "mean colour of the training photos"))
]

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="Rows; all without one")] = None,
) -> None:
    """Train and measure the rows that are not in MLflow yet."""
    for row in ROWS:
        if names and row.name not in names:
            continue
        if trained(row) is None:
            if row.elsewhere:
                print(f"{row.name}: not run here, it takes {row.elsewhere}", flush=True)
                continue
            command = ["dvc", "exp", "run", "-n", row.name, *row.options, f"train_{row.space}"]
            print("+", " ".join(command), flush=True)
            subprocess.run(command, check=True)
        made = trained(row)
        if made is not None and results(made.generator_sha256) is None:
            record(*of_run(row.space, made))
    table()


@app.command()
def table() -> None:
    """Print the table as Markdown, from colour.csv and the runs that MLflow holds."""
    rows = kept()
    for space in SPACES:
        if (found := results(mean_of(space))) is not None:
            metrics, none = found.data.metrics, {"core_minutes": "", "processor": ""}
            rows[f"{space}-gray"] = figures_of(metrics, "gray_") | none
            rows[f"{space}-mean"] = figures_of(metrics) | none
    for row in ROWS:
        made = trained(row)
        found = results(made.generator_sha256) if made else None
        if made and found:
            figures = figures_of(found.data.metrics)
            figures["core_minutes"] = f"{minutes(made) * row.cores:.0f}"
            # Whoever tables rows has trained those that are new to it.
            if figures.items() - rows.get(row.name, {}).items():
                rows[row.name] = figures | {"processor": processor()}
    keep(rows)
    print(markdown([*BASELINES, *((row.name, row.change) for row in ROWS)], rows))


def processor() -> str:
    """Return the name of this machine's processor."""
    return device_name(torch.device("cpu")).partition(" (")[0]


@app.command("measure")
def measure_folder(
    model: Path,
    arrays: Path,
    row: Annotated[str, typer.Option(help="Row of the table to keep it as, without a run")] = "",
    split: Annotated[str, typer.Option(help="test, or val for what is chosen by")] = "test",
) -> None:
    """Measure a model on the test photos of a folder of arrays, of whatever size they are."""
    if split not in SPLITS:
        raise ColorganError(f"--split is {split}; it should be one of {', '.join(SPLITS)}")
    if row and split != "test":
        raise ColorganError(f"--row keeps figures of the test photos; --split is {split}")
    loaded = Model.load(model)
    figures = summary.flat(measure(loaded, open_split(arrays, split), EVALUATE).content)
    print({name.removeprefix("test/"): figure for name, figure in figures.items()})
    if row:
        keep(kept() | {row: figures_of(figures) | {"core_minutes": "", "processor": ""}})


@app.command()
def speed(model: Path, side: int = 256, turns: int = 30) -> None:
    """Print how long one photo takes, decoding of its file left out."""
    loaded = Model.load(model)
    photo = torch.randint(0, 256, (1, side, side), dtype=torch.uint8)
    seconds = []
    for _ in range(turns + 5):
        start = time.perf_counter()
        loaded.colorize_batch(photo)
        seconds.append(time.perf_counter() - start)
    print(
        f"{1000 * statistics.median(seconds[5:]):.1f} ms a photo of {side} px, on "
        f"{torch.get_num_threads()} threads"
    )


@app.command()
def glance(
    model: Path,
    arrays: Path,
    sheet: Path,
    photos: int = 60,
    columns: int = 10,
    truth: bool = False,
) -> None:
    """Write a sheet of coloured test photos, spread over the split, to be looked at and counted."""
    split = open_split(arrays, "test")
    rows = np.linspace(0, len(split) - 1, min(photos, len(split))).round().astype(int)
    batches = Model.load(model).colorize_split(split.take(rows.tolist()), 20)
    shown = np.concatenate([batch.truth if truth else batch.generated for batch in batches])
    blank = np.full_like(shown[0], 255)
    grid = [list(shown[start : start + columns]) for start in range(0, len(shown), columns)]
    grid[-1] += [blank] * (columns - len(grid[-1]))
    pictures.grid(grid).save(sheet)


@app.command()
def sheet(
    picture: Annotated[Path, typer.Argument(help="PNG to write")],
    models: Annotated[list[Path], typer.Argument(help="model folders, of either space")],
    titles: Annotated[str, typer.Option(help="what to call them, with commas between")] = "",
    photos: int = 8,
) -> None:
    """Write a sheet of test photos: gray, truth, and as each of some models paints them."""
    names = titles.split(",") if titles else [model.name for model in models]
    if len(names) != len(models):
        raise ColorganError(f"--titles names {len(names)} models; it should name {len(models)}")
    batches = []
    for model in map(Model.load, models):
        split = open_split(paths.processed(model.space.name), "test")
        rows = np.linspace(0, len(split) - 1, photos).round().astype(int).tolist()
        batches.append(next(model.colorize_split(split.take(rows), photos)))
    columns = [batches[0].gray, batches[0].truth, *(batch.generated for batch in batches)]
    grid = pictures.grid(list(zip(*columns, strict=True)), ("gray", "ground truth", *names))
    grid.save(picture)


@app.command()
def mean(space: str) -> None:
    """Measure the mean colour of the training photos on everything, the laziest answer to doubt."""
    folder = paths.processed(space)
    network = MeanColour(get_space(space), open_split(folder, "train"))
    model = Model(network, get_space(space), 0, mean_of(space), torch.device("cpu"))
    record(model, open_split(folder, "test"))


def mean_of(space: str) -> str:
    """Return what stands for the SHA-256 of a model that is none."""
    return f"mean colour of {space}"


class MeanColour(nn.Module):
    """Gives every pixel what the training photos have on average, beside the gray output."""

    def __init__(self, space: Space, photos: Split) -> None:
        super().__init__()
        self._space = space
        total = torch.zeros(space.out_channels, dtype=torch.float64)
        for start in range(0, len(photos), 200):
            rows = slice(start, start + 200)
            arrays = (torch.from_numpy(x[rows].copy()) for x in (photos.input, photos.target))
            input, target = space.encode(*arrays)
            total += (target - space.gray_output(input)).double().mean(dim=(2, 3)).sum(dim=0)
        self._mean = (total / len(photos)).float().view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H, W)`."""
        return self._space.gray_output(x) + self._mean


def trained(row: Row) -> TrainingRun | None:
    """Return the run of a row; None where there is none that came to weights."""
    try:
        return TrainingRuns().named(row.name, f"train_{row.space}")
    except ColorganError:
        return None


def of_run(space: str, run: TrainingRun) -> tuple[Model, Split]:
    """Return the model of a run, with the test photos of its space."""
    with TemporaryDirectory() as folder:
        into = Path(folder)
        for name in (WEIGHTS, CONFIG):
            TrainingRuns().artifact(run, f"model/{name}", into)
        model = Model.load(into / "model")
    return model, open_split(paths.processed(space), "test")


def record(model: Model, split: Split) -> None:
    """Record the measures, those of each class and the hues, beside the training run."""
    evaluation = measure(model, split, EVALUATE)
    with TemporaryDirectory() as folder:
        classes, hues = Path(folder) / "per_class.csv", Path(folder) / "hues.csv"
        summary.by_class(evaluation.photos).to_csv(classes, index=False)
        evaluation.hues.to_csv(hues, index=False)
        record_results(
            STAGE, model.space.name, model.sha256,
            summary.flat(evaluation.content), [classes, hues],
        )  # fmt: skip


def results(sha256: str) -> Run | None:
    """Return what was recorded of a generator; None where it was not measured."""
    client = MlflowClient(tracking_uri())
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    condition = f"tags.`colorgan.measured_sha256` = '{sha256}' and tags.stage = '{STAGE}'"
    found = client.search_runs(ids, condition, max_results=1)
    return found[0] if found else None


def minutes(run: TrainingRun) -> float:
    """Return how long a run trained, validation included."""
    info = MlflowClient(tracking_uri()).get_run(run.id).info
    return float(info.end_time - info.start_time) / 60_000


if __name__ == "__main__":
    try:
        app()
    except ColorganError as error:
        sys.exit(str(error))
