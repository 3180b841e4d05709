"""Fixtures that train tiny networks."""

from __future__ import annotations

import pytest

from kill_runs import Lives
from tiny_training import batch, make_step, run, run_anew

__all__ = ["batch", "make_step", "run", "run_anew"]


@pytest.fixture(scope="session")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Lives:
    """Return what starts trainings in processes of their own."""
    return Lives(tmp_path_factory.mktemp("lives"))
