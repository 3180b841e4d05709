"""Where everything lies.

Code, params, data, models and reports are those of the working directory, which under
`dvc exp run --temp` and `--queue` is a copy of the project inside `.dvc/tmp/exps`. What must
outlive such a copy (the MLflow store) lies in the real project root, which DVC names in `DVC_ROOT`.
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


def raw(space: str) -> Path:
    """The photos, or the source's own files, as downloaded for `space`."""
    return DATA / "raw" / space


def processed(space: str) -> Path:
    """The uint8 arrays that `space` trains and is evaluated on."""
    return DATA / "processed" / space


def model(space: str) -> Path:
    """The folder of the trained generator of `space`: generator.safetensors and config.json."""
    return MODELS / space


def losses(space: str) -> Path:
    """The training losses of `space`, a row each `logging.log_every` iterations."""
    return REPORTS / space / "losses.csv"


def validation(space: str) -> Path:
    """The validation metrics of `space`, a row an epoch that was validated."""
    return REPORTS / space / "validation.csv"


def resume(stage: str) -> Path:
    """Where a stage keeps half-done work, out of reach of DVC, which deletes outs before a run."""
    return project_root() / ".resume" / stage


def project_root() -> Path:
    """The real project root, also where the working directory is DVC's copy of it."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()
