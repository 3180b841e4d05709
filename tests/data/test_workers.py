"""Reading by processes that are started anew, as on macOS and Windows."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd

from colorgan.data.arrays import INDEX_COLUMNS, DatasetInfo, open_split


def test_a_split_travels_as_its_path_not_as_its_photos(tmp_path: Path) -> None:
    n, side = 50, 64
    folder = tmp_path / "lab"
    (folder / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    np.save(folder / "train" / "input.npy", rng.integers(0, 256, (n, side, side), np.uint8))
    np.save(folder / "train" / "target.npy", rng.integers(0, 256, (n, side, side, 2), np.uint8))
    rows = [(str(i), "train", "cat", "sample", side, side) for i in range(n)]
    pd.DataFrame(rows, columns=list(INDEX_COLUMNS)).to_csv(folder / "index.csv", index=False)
    DatasetInfo("lab", side, 2, {"train": n, "val": 0, "test": 0}, 0, "digest").write(folder)
    split = open_split(folder, "train")

    travelled = pickle.dumps(split)

    assert len(travelled) < 1000
    again = pickle.loads(travelled)
    assert np.array_equal(again.input, split.input)
    part = pickle.loads(pickle.dumps(split.take([3, 1])))
    assert np.array_equal(part.target, split.target[[3, 1]])
