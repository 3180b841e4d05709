"""A tiny project: untrained models, random photos, made-up measures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_results import LABELS, make_classes, make_hues, make_photos, make_scores

from colorgan import paths
from colorgan.config import SPACES, Params, check_params
from tiny_project import SIDE, photo_arrays, tiny_params
from trained import save_tiny


@pytest.fixture
def params() -> Params:
    return check_params(tiny_params({"render.rows": 3, "render.extremes": 2}))


@pytest.fixture
def project(project: Path, params: Params) -> Path:
    n = len(LABELS)
    photos = np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)
    for name in SPACES:
        photo_arrays(paths.processed(name), name, photos, LABELS)
        save_tiny(paths.model(name), name, params, seed=0)
        paths.losses(name).parent.mkdir(parents=True)
        paths.losses(name).write_text(
            "iteration,epoch,loss_D,loss_G_GAN,loss_G_L1\n10,1,0.7,0.8,0.5\n20,2,0.6,1.1,0.2\n"
        )
        # A training without validation photos leaves the head alone.
        paths.validation(name).write_text("epoch\n")
    paths.METRICS.write_text(json.dumps(dict.fromkeys(SPACES, asdict(make_scores(n)))))
    values = [float(10 + i) for i in range(n)]
    ids = [f"test{i}" for i in range(n)]
    for path, tables in (
        (paths.PER_PHOTO, [make_photos(space, values, ids) for space in SPACES]),
        (paths.PER_CLASS, [make_classes(space) for space in SPACES]),
        (paths.HUES, [make_hues(space) for space in SPACES]),
    ):
        pd.concat(tables).to_csv(path, index=False)
    return project
