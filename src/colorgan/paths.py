"""Paths of files and folders.

Params, data, models and reports are in the working directory, which under `dvc exp run --temp` and
`--queue` is a copy of the project inside `.dvc/tmp/exps`. What must outlive such a copy (the MLflow
store and `.resume`) is in the real project root, which DVC gives in `DVC_ROOT`.
"""

from __future__ import annotations

import os
from pathlib import Path

PARAMS = Path("params.yaml")
DATA = Path("data")
SAMPLE = DATA / "sample"
MODELS = Path("models")
REPORTS = Path("reports")

METRICS = REPORTS / "metrics.json"
PER_CLASS = REPORTS / "per_class.csv"
PER_PHOTO = REPORTS / "per_photo.csv"
HUES = REPORTS / "hues.csv"
GRIDS = REPORTS / "grids"
REPORT = REPORTS / "report.html"

PRETRAINED = "pretrained"
"""Name of the model that comes with colorgan."""
ONNX = "generator.onnx"
"""The same generator for ONNX Runtime, in the folder of the pretrained model."""
IN_THE_WHEEL = Path(__file__).parent / "models" / PRETRAINED
IN_THE_CHECKOUT = Path(__file__).parents[2] / "models" / PRETRAINED


def raw(space: str) -> Path:
    """The downloaded photos of `space`, or the files of its source."""
    return DATA / "raw" / space


def processed(space: str) -> Path:
    """The uint8 arrays that `space` trains and is evaluated on."""
    return DATA / "processed" / space


def model(space: str) -> Path:
    """The folder of the trained generator of `space`: generator.safetensors and config.json."""
    return MODELS / space


def pretrained() -> Path:
    """The folder of the pretrained model: in the project here, the wheel, or the checkout."""
    here = model(PRETRAINED)
    folders = (here, IN_THE_WHEEL, IN_THE_CHECKOUT)
    return next((folder for folder in folders if folder.is_dir()), here)


def losses(space: str) -> Path:
    """The training losses of `space`: a row every `logging.log_every` iterations."""
    return REPORTS / space / "losses.csv"


def validation(space: str) -> Path:
    """The validation metrics of `space`: a row for each validated epoch."""
    return REPORTS / space / "validation.csv"


def resume(stage: str) -> Path:
    """Unfinished work of a stage; not in its outs, which DVC deletes before a run."""
    return project_root() / ".resume" / stage


def expanded(path: str) -> Path:
    """The path with the home folder for `~`; an unknown `~user` stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser refuses an unknown user)


def project_root() -> Path:
    """The real project root, also if the working directory is DVC's copy of it."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()
