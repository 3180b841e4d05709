"""The study of docs/colour.md: a row is one `dvc exp run`, measured on the test photos.

    python benchmarks/colour.py run lab-l1 lab-color     # these rows; without names all of them
    python benchmarks/colour.py table                    # the table, from MLflow

To be started in a clone whose params.yaml is that of `preset photos --path ../shared/photos
--write` and then `preset scratch --write`, and whose arrays are there (`dvc repro preprocess@rgb
preprocess@lab`). Every row trains for about as long as the others, counted in epochs, so that what
else the machine does is no part of it; a row that MLflow has is not trained again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from colorgan import paths
from colorgan.config import SPACES, EvaluateParams
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import summary
from colorgan.evaluation.evaluate import measure
from colorgan.model import CONFIG, WEIGHTS, Model
from colorgan.runs.runtime import device_name
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
EVALUATE = EvaluateParams(batch_size=32, frechet=True)

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
    photos, by_hue, content = measure(model, split, EVALUATE)
    with TemporaryDirectory() as folder:
        classes, hues = Path(folder) / "per_class.csv", Path(folder) / "hues.csv"
        summary.by_class(photos).to_csv(classes, index=False)
        by_hue.to_csv(hues, index=False)
        record_results(
            STAGE, model.space.name, model.sha256,
            summary.flat(content), [classes, hues],
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
