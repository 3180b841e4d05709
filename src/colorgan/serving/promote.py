"""`colorgan promote`: the best run on the same data becomes the champion of its space."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import colorgan
from colorgan import paths
from colorgan.config import SpaceName
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError
from colorgan.model import CONFIG, WEIGHTS
from colorgan.tracking.mlflow_log import SHA256_TAG
from colorgan.tracking.mlflow_read import TrainingRun, TrainingRuns
from colorgan.tracking.store import tracking_uri

# After colorgan's, which tells MLflow what to be silent about.
import mlflow  # isort: skip
import pandas as pd  # isort: skip
from mlflow import MlflowClient  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.models import ModelSignature  # isort: skip
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema  # isort: skip
from PIL import Image  # isort: skip

CHAMPION = "champion"
FOLDER = "mlflow_model"
"""Where the MLflow model lies among the files of its run."""
DIGEST_TAG = "data.digest"
NEEDED = (
    "mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "scipy", "timm", "torch",
    "torchvision",
)  # fmt: skip
SIGNATURE = ModelSignature(
    # Not binary: that MLflow decodes itself, skipping what is no base64, or refuses a whole request
    # for one row. Bytes fit too.
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema([ColSpec(DataType.string, "png"), ColSpec(DataType.string, "error")]),
    params=ParamSchema([ParamSpec("saturation", DataType.double, 1.0)]),
)


@dataclass(frozen=True)
class Promotion:
    """What came of it.

    Attributes:
        name: of the registered model.
        version: that the alias stands at.
        because: why it does.
        moved: whether it stood elsewhere before.
    """

    name: str
    version: str
    because: str
    moved: bool


def promote(space: SpaceName) -> Promotion:
    """Move the alias `champion` to the run with the best validation score on the same data.

    The data are those of data/processed/<space>, or of the newest run where there are none. A
    score is that of the weights a run has kept; lower is better, see `training.validate`. Nothing
    changes where the alias stands there already.

    Raises:
        ColorganError: there is no run with weights and a score on these data, or the store fails.
    """
    runs = TrainingRuns()
    digest = _digest(space, runs)
    scored = [
        (score, run)
        for run in runs.with_weights(f"train_{space}", most=10_000)
        if run.tags.get(DIGEST_TAG) == digest and (score := runs.kept_score(run)) is not None
    ]
    if not scored:
        raise ColorganError(
            f"no run of train_{space} on the data {digest[:12]} has weights and a validation "
            f"score: `dvc repro train_{space}` makes one (with train.val_every above 0)"
        )
    score, best = min(scored, key=lambda pair: pair[0])
    because = (
        f"score {score:.4f}, the best of {len(scored)} run{'s'[: len(scored) > 1]} on the data "
        f"{digest[:12]}; {best.name} ({best.id})"
    )
    client = MlflowClient(tracking_uri())
    try:
        return _promoted(client, runs, f"colorgan-{space}", best, because, score, digest)
    except MlflowException as error:
        raise ColorganError(f"MLflow's registry cannot be written to: {error}") from None


def _digest(space: SpaceName, runs: TrainingRuns) -> str:
    folder = paths.processed(space)
    if (folder / "dataset.json").is_file():
        return read_info(folder).digest
    newest = next(iter(runs.with_weights(f"train_{space}", most=1)), None)
    if newest is None:
        raise ColorganError(f"no run of train_{space} has come to weights: `dvc repro` makes one")
    return newest.tags.get(DIGEST_TAG, "")


def _promoted(
    client: MlflowClient,
    runs: TrainingRuns,
    name: str,
    best: TrainingRun,
    because: str,
    score: float,
    digest: str,
) -> Promotion:
    registered = client.search_registered_models(f"name = '{name}'")
    versions = client.search_model_versions(f"name = '{name}'")
    stands_at = registered[0].aliases.get(CHAMPION) if registered else None
    if not registered:
        client.create_registered_model(name, description="Colours gray photographs; colorgan")
    of_run = [v for v in versions if v.tags.get(SHA256_TAG) == best.generator_sha256]
    version = of_run[0].version if of_run else _register(client, runs, name, best)
    because_there = of_run and of_run[0].tags.get("promoted.because") == because
    if not because_there:
        told = {"promoted.because": because, "score": f"{score:.6g}", DIGEST_TAG: digest}
        for key, value in told.items():
            client.set_model_version_tag(name, version, key, value)
    moved = str(stands_at) != str(version)
    if moved:
        client.set_registered_model_alias(name, CHAMPION, version)
    return Promotion(name, str(version), because, moved)


def _register(client: MlflowClient, runs: TrainingRuns, name: str, run: TrainingRun) -> str:
    """Make an MLflow model of the weights of a run, beside them, and a version of it."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        if None in [runs.artifact(run, f"model/{file}", place) for file in (WEIGHTS, CONFIG)]:
            raise ColorganError(f"{run} has no model in MLflow")
        save_model(place / "model", place / FOLDER)
        client.log_artifacts(run.id, str(place / FOLDER), FOLDER)
    source = f"{client.get_run(run.id).info.artifact_uri}/{FOLDER}"
    tags = {SHA256_TAG: run.generator_sha256}
    return str(client.create_model_version(name, source, run.id, tags=tags).version)


def save_model(generator: Path, into: Path) -> None:
    """Write an MLflow model of a folder with a generator; its code comes along."""
    package = Path(colorgan.__file__).parent
    mlflow.pyfunc.save_model(
        str(into),
        python_model=str(Path(__file__).with_name("mlflow_model.py")),
        artifacts={"generator": str(generator)},
        code_paths=[str(package)],
        signature=SIGNATURE,
        input_example=(_example(), {"saturation": 1.0}),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in NEEDED],
    )


def _example() -> pd.DataFrame:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).save(buffer, "PNG")
    return pd.DataFrame({"image": [base64.b64encode(buffer.getvalue()).decode("ascii")]})
