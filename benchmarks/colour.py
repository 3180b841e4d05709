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
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from colorgan import paths, pictures, presets
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.evaluation import summary
from colorgan.evaluation.evaluate import Evaluation, Subject, measure
from colorgan.model import CONFIG, WEIGHTS, Model
from colorgan.params import SPACES, EvaluateParams
from colorgan.spaces import Space, get_space
from colorgan.tracking.mlflow_runs import TrainingRun, TrainingRuns
from colorgan.tracking.recorder import record_results
from colorgan.tracking.store_uri import tracking_uri

# After colorgan's, which tells MLflow what to be silent about.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities import Run  # isort: skip

STAGE = "study"
EVALUATE = EvaluateParams(
    batch_size=32, chromatic=10.0, hue_tolerance=30.0, frechet=True, fid=False, lpips=False
)
SHOWN = {
    "ciede2000": ("CIEDE2000", 2),
    "frechet_lite2": ("FD Lite2", 1),
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "colorfulness": ("colourfulness", 1),
    "shift_a": ("shift a", 1),
    "shift_b": ("shift b", 1),
    "hue_share": ("hue right", 3),
}
"""Columns of the table, by the names of metrics.json, with their digits after the point."""


@dataclass(frozen=True)
class Row:
    """A row of the study: a name, what is new in it, and the parameters that say so."""

    name: str
    change: str
    settings: tuple[str, ...]
    seed: int = 1
    cores: int = 1
    elsewhere: str = ""
    """What it takes to run it, where this script cannot."""

    @property
    def space(self) -> str:
        """The space it is a row of."""
        return self.name.partition("-")[0]

    @property
    def options(self) -> list[str]:
        """Its parameters, as `dvc exp run` takes them."""
        # From the reference, whatever the row before has left in params.yaml; a later value of a
        # parameter stands for an earlier one.
        reference = presets.as_options("scratch").replace("-S", "").split()
        values = dict(setting.split("=", 1) for setting in (*reference, *self.settings))
        values["train.seed"] = str(self.seed)
        return [word for name, value in values.items() for word in ("-S", f"{name}={value}")]


MARKS = "<!-- the table begins -->", "<!-- the table ends -->"

REFERENCE = ("model.ngf=64", "model.ndf=64", "train.keep=best")
ENCODER = (
    "model.generator=encoder_unet", "train.lr=0.001", "train.lr_schedule=cosine",
    "train.beta1=0.9", "train.beta2=0.99", "train.warmup_iterations=30", "train.ema_decay=0.998",
    "train.keep=best", "train.epochs=2", "train.decay_epochs=2",
)  # fmt: skip
NO_GAN = (*ENCODER, "train.pretrain_epochs=2")
COLOR = (*NO_GAN, "train.lambda_color=30")
RECIPE = (*COLOR, "train.lambda_perceptual=1")
# Of the colourfulness loss's first form, which counted every pixel.
FIRST_COLOR = (*NO_GAN, "train.lambda_color=20")
FIRST = (*FIRST_COLOR, "train.lambda_perceptual=1")
ROWS = (
    Row("lab-reference", "LAB: pix2pix (U-Net 128, ngf 64), 3 epochs: the reference",
        (*REFERENCE, "train.epochs=3", "train.decay_epochs=1"), cores=2),
    Row("rgb-reference", "RGB: pix2pix, the same",
        (*REFERENCE, "train.epochs=3", "train.decay_epochs=1")),
    Row("lab-l1", "LAB: `encoder_unet`, L1 alone, 2 epochs", NO_GAN),
    Row("lab-color", "L1 and the colourfulness loss", COLOR),
    Row("lab-seen-alike-4", "L1 and the perceptual loss, weight 4",
        (*NO_GAN, "train.lambda_perceptual=4")),
    Row("lab-seen-alike-4-2", "L1 and the perceptual loss, weight 4, a second seed",
        (*NO_GAN, "train.lambda_perceptual=4"), seed=2, cores=2),
    Row("lab-seen-alike-12", "L1 and the perceptual loss, weight 12",
        (*NO_GAN, "train.lambda_perceptual=12")),
    Row("lab-recipe", "L1, colourfulness and perceptual loss: the recipe", RECIPE),
    Row("lab-recipe-2", "the recipe, a second seed", RECIPE, seed=2),
    Row("lab-perceptual", "the recipe, colourfulness of single pixels, weight 20",
        FIRST, elsewhere="the code of commit 783678a"),
    Row("lab-rare", "L1 and that colourfulness, rare colours count for more",
        (*FIRST_COLOR, "train.rare_color=0.25"), elsewhere="the code of commit 7ea93b3"),
    Row("lab-seen", "all of it, L1 scaled as CIE94 sees errors",
        (*FIRST, "train.l1_as_seen=true"), elsewhere="the code of commit 90f2652"),
    Row("lab-queries", "all of it, 64 colour queries in the decoder",
        (*FIRST, "model.color_queries=64"), elsewhere="the code of commit 783678a"),
    Row("lab-gan", "that (CIE94 too), a GAN in the second epoch",
        (*FIRST, "train.l1_as_seen=true", "train.pretrain_epochs=1", "model.spectral_norm=true",
         "train.gan_loss=hinge", "train.discriminator_lr=0.0004"),
        elsewhere="the code of commit 783678a with that of 90f2652"),
    Row("rgb-seen-alike-4", "RGB: L1 and the perceptual loss, weight 4",
        (*NO_GAN, "train.lambda_perceptual=4"), cores=2),
    Row("rgb-perceptual", "RGB: L1 scaled as CIE94, colourfulness of single pixels, weight 20",
        (*FIRST, "train.l1_as_seen=true"), elsewhere="the code of commit 90f2652"),
    Row("lab-final", "LAB: all of it, 64 px before 128 px, more photos, weight 30",
        (), elsewhere="the commands of docs/colour.md"),
    Row("lab-final-2", "one epoch more, CIE94, a mean as colourfulness",
        (), elsewhere="the commands of docs/colour.md"),
    Row("lab-long", "10 epochs more, at last colourfulness 5, perceptual 3: the pretrained model",
        (), elsewhere="the commands of docs/colour.md"),
)  # fmt: skip

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
            subject = of_run(row.space, made)
            record(subject, measure(subject, EVALUATE))
    table()


@app.command()
def table(
    write: Annotated[Path | None, typer.Option(help="Markdown file to put it into")] = None,
) -> None:
    """Print the table as Markdown, from what MLflow holds, or put it between a file's marks."""
    lines = [
        "| | " + " | ".join(title for title, _ in SHOWN.values()) + " | core minutes |",
        "|---|" + "---:|" * (len(SHOWN) + 1),
    ]
    for space in SPACES:
        if (found := results(mean_of(space))) is not None:
            lines += [
                line(f"{space.upper()}: gray", found, "gray_"),
                line(f"{space.upper()}: mean colour of the training photos", found),
            ]
    for row in ROWS:
        made = trained(row)
        found = results(made.generator_sha256) if made else None
        if made and found:
            lines.append(line(row.change, found, last=f"{minutes(made) * row.cores:.0f}"))
    text = "\n".join(lines)
    if write is None:
        print(text)
        return
    before, _, rest = write.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    content = f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}"
    write.write_text(content, encoding="utf-8")


def line(title: str, found: Run, prefix: str = "", last: str = "") -> str:
    """Return a line of the table."""
    metrics = found.data.metrics
    values = [
        f"{metrics[f'test/{prefix}{name}']:.{digits}f}" for name, (_, digits) in SHOWN.items()
    ]
    return f"| {title} | {' | '.join(values)} | {last} |"


@app.command("measure")
def measure_folder(model: Path, arrays: Path) -> None:
    """Measure a model on the test photos of a folder of arrays, of whatever size they are."""
    loaded = Model.load(model)
    subject = Subject(loaded.space.name, loaded, open_split(arrays, "test"))
    print(summary.flat(measure(subject, EVALUATE).content))


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
    pictures.save_png(pictures.grid(grid), sheet)


@app.command()
def mean(space: str) -> None:
    """Measure the mean colour of the training photos on everything, the laziest answer to doubt."""
    folder = paths.processed(space)
    network = MeanColour(get_space(space), open_split(folder, "train"))
    model = Model(network, get_space(space), 0, mean_of(space), torch.device("cpu"))
    subject = Subject(space, model, open_split(folder, "test"))
    record(subject, measure(subject, EVALUATE))


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
        return TrainingRuns().named(f"train_{row.space}", row.name)
    except ColorganError:
        return None


def of_run(space: str, run: TrainingRun) -> Subject:
    """Return the model of a run, with the test photos of its space."""
    with TemporaryDirectory() as folder:
        into = Path(folder)
        for name in (WEIGHTS, CONFIG):
            TrainingRuns().artifact(run, f"model/{name}", into)
        model = Model.load(into / "model")
    return Subject(space, model, open_split(paths.processed(space), "test"))


def record(subject: Subject, evaluation: Evaluation) -> None:
    """Record the measures, those of each class and the hues, beside the training run."""
    with TemporaryDirectory() as folder:
        classes, hues = Path(folder) / "per_class.csv", Path(folder) / "hues.csv"
        summary.by_class(evaluation.photos).to_csv(classes, index=False)
        evaluation.hues.to_csv(hues, index=False)
        record_results(
            STAGE, subject.space, subject.model.sha256,
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
