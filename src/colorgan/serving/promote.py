"""`colorgan promote`: the best run on the same data becomes the champion of its space."""

from __future__ import annotations

import warnings
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import colorgan
from colorgan import paths
from colorgan.config import SpaceName
from colorgan.data.arrays import read_info
from colorgan.errors import ColorganError
from colorgan.tracking.mlflow_read import SHA256_TAG, TrainingRun, TrainingRuns
from colorgan.tracking.store import reason, tracking_uri

# After colorgan's, which tells MLflow what to be silent about.
import mlflow  # isort: skip
from mlflow import MlflowClient  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.models import ModelSignature  # isort: skip
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema  # isort: skip

CHAMPION = "champion"
FOLDER = "mlflow_model"
"""Where the MLflow model lies among the files of its run."""
DIGEST_TAG = "data.digest"
NEEDED = (
    "imagecodecs", "mlflow", "numpy", "pandas", "pillow", "pydantic", "ruamel.yaml", "safetensors",
    "scipy", "tifffile", "timm", "torch", "torchvision",
)  # fmt: skip
SIGNATURE = ModelSignature(
    # Not binary: that MLflow decodes itself, skipping what is no base64, or refuses a whole request
    # for one row. Bytes fit too.
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema([ColSpec(DataType.string, "png"), ColSpec(DataType.string, "error")]),
    params=ParamSchema([ParamSpec("saturation", DataType.double, 1.0)]),
)


def promote(space: SpaceName) -> str:
    """Move the alias `champion` to the run with the best validation score on these data; say why.

    The data are those of data/processed/<space>, or of the newest run where there are none. A
    score is that of the weights a run has kept; lower is better, see `training.validate`. Nothing
    changes where the alias stands there already.

    Raises:
        ColorganError: there is no run with weights and a score on these data, or the store fails.
    """
    runs = TrainingRuns()
    trained = runs.with_weights(f"train_{space}", most=10_000)
    if (paths.processed(space) / "dataset.json").is_file():
        digest = read_info(paths.processed(space)).digest
    else:
        digest = trained[0].tags.get(DIGEST_TAG, "") if trained else "none here"
    scored = [
        (score, run)
        for run in trained
        if run.tags.get(DIGEST_TAG) == digest and (score := runs.kept_score(run)) is not None
    ]
    if not scored:
        raise ColorganError(
            f"no run of train_{space} has weights and a validation score on these data "
            f"({digest[:12]}): `dvc repro --force --single-item train_{space}` makes one, or "
            "records again what is trained already"
        )
    score, best = min(scored, key=lambda pair: pair[0])
    because = (
        f"CIEDE2000 {score:.4f} at equal colourfulness, the best of {len(scored)} "
        f"run{'s'[: len(scored) > 1]} on the data {digest[:12]}; {best.name} ({best.id})"
    )
    name, client = f"colorgan-{space}", MlflowClient(tracking_uri())
    told = {"promoted.because": because, "score": f"{score:.6g}", DIGEST_TAG: digest}
    try:
        version = _version(client, runs, name, best, {run.id for run in trained})
        for key, value in told.items():
            client.set_model_version_tag(name, version, key, value)
        moved = CHAMPION not in client.get_model_version(name, version).aliases
        if moved:
            client.set_registered_model_alias(name, CHAMPION, version)
    except (MlflowException, OSError) as error:  # those of its HTTP client are OSErrors
        raise ColorganError(f"MLflow's registry cannot be written to: {reason(error)}") from None
    return f"{name} version {version} is {'now' if moved else 'already'} the champion: {because}"


def _version(
    client: MlflowClient, runs: TrainingRuns, name: str, run: TrainingRun, kept: set[str]
) -> str:
    """Return the version of a run; registers an MLflow model of its weights if there is none."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name, description="Colours gray photographs; colorgan")
    for version in client.search_model_versions(f"name = '{name}'"):
        # The files of a version go with its run.
        if version.run_id in kept and version.tags.get(SHA256_TAG) == run.generator_sha256:
            return str(version.version)
    with TemporaryDirectory() as folder:
        place = Path(folder, FOLDER)
        save_model(runs.model(run, Path(folder)), place)
        client.log_artifacts(run.id, str(place), FOLDER)
    source = f"{client.get_run(run.id).info.artifact_uri}/{FOLDER}"
    tags = {SHA256_TAG: run.generator_sha256}
    return str(client.create_model_version(name, source, run.id, tags=tags).version)


def save_model(generator: Path, into: Path) -> None:
    """Write an MLflow model of a folder with a generator; its code comes along."""
    package = Path(colorgan.__file__).parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises type hints and an example
        mlflow.pyfunc.save_model(
            str(into),
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"generator": str(generator)},
            code_paths=[str(package)],
            signature=SIGNATURE,
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in NEEDED],
        )
