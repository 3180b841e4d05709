"""A tiny project: untrained models, random photos, made-up measures."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_results import LABELS, SIDE, make_classes, make_hues, make_photos, make_scores

from colorgan import paths
from colorgan.config import Params, check_params, read_yaml
from colorgan.data.arrays import DatasetInfo
from colorgan.spaces import SPACES, get_space
from trained import save_tiny

PARAMS_YAML = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def params() -> Params:
    content = read_yaml(PARAMS_YAML)
    for space in SPACES:
        content[space]["image_size"] = SIDE
    content["model"]["ngf"] = 2
    content["render"] |= {"rows": 3, "extremes": 2}
    content["runtime"]["device"] = "cpu"
    return check_params(content)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> Path:
    monkeypatch.chdir(tmp_path)
    n = len(LABELS)
    photos = np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)
    index = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "split": "test", "label": LABELS})
    index = index.assign(source="sample", width=SIDE, height=SIDE)
    for name in SPACES:
        folder, space = paths.processed(name), get_space(name)
        (folder / "test").mkdir(parents=True)
        inputs, targets = space.arrays(photos)
        np.save(folder / "test/input.npy", inputs)
        np.save(folder / "test/target.npy", targets)
        index.to_csv(folder / "index.csv", index=False)
        counts = {"train": 0, "val": 0, "test": n}
        DatasetInfo(name, SIDE, space.out_channels, counts, 0, "digest").write(folder)
        save_tiny(paths.model(name), name, params, seed=0)
        paths.losses(name).parent.mkdir(parents=True)
        paths.losses(name).write_text(
            "iteration,epoch,loss_D,loss_G_GAN,loss_G_L1\n10,1,0.7,0.8,0.5\n20,2,0.6,1.1,0.2\n"
        )
        # A training without validation photos leaves the head alone.
        paths.validation(name).write_text("epoch\n")
    paths.METRICS.write_text(json.dumps(dict.fromkeys(SPACES, asdict(make_scores(n)))))
    values = [float(10 + i) for i in range(n)]
    for path, tables in (
        (paths.PER_PHOTO, [make_photos(space, values) for space in SPACES]),
        (paths.PER_CLASS, [make_classes(space) for space in SPACES]),
        (paths.HUES, [make_hues(space) for space in SPACES]),
    ):
        pd.concat(tables).to_csv(path, index=False)
    return tmp_path
