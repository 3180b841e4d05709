"""A project in a temporary folder, with a store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

# Before a test imports mlflow itself: this is what turns its telemetry off.
import colorgan.tracking.mlflow_sink  # noqa: F401


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project, with a space in its path; the working directory is elsewhere."""
    root = tmp_path / "my project"
    copy = tmp_path / "copy of dvc"
    root.mkdir()
    copy.mkdir()
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    # The checkout around the temporary folder, should there be one, is not the project's.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(copy)
    return root
