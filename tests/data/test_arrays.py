"""The format on disk: what is opened, and what is refused with which sentence."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colorgan.data.arrays import open_split
from colorgan.errors import ColorganError


@pytest.fixture
def folder(write_arrays: Callable[..., Path]) -> Path:
    """data/processed/lab: ten photos to train on, three to validate on, no test."""
    return write_arrays("lab", test=0)


def refused(folder: Path, start: str) -> None:
    with pytest.raises(ColorganError) as refusal:
        open_split(folder, "train")
    said = str(refusal.value)
    assert said.startswith(start)
    assert said.endswith("run `dvc repro -f preprocess@lab` to make it again")
    assert "\n" not in said


def test_a_split_is_mapped_not_read(folder: Path) -> None:
    split = open_split(folder, "train")
    assert isinstance(split.input, np.memmap)
    assert isinstance(split.target, np.memmap)
    assert not split.input.flags.writeable
    assert (split.input == np.load(folder / "train/input.npy")).all()
    assert (split.target == np.load(folder / "train/target.npy")).all()
    assert list(split.index["id"]) == [f"train{i}" for i in range(10)]


def test_an_empty_split_needs_no_file(folder: Path) -> None:
    split = open_split(folder, "test")
    assert len(split) == 0
    assert split.target.shape == (0, 32, 32, 2)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"{}", b"[]"])
def test_a_damaged_dataset_json(folder: Path, text: bytes) -> None:
    (folder / "dataset.json").write_bytes(text)
    refused(folder, f"{folder / 'dataset.json'} is damaged (")


@pytest.mark.parametrize("kept", [0, -1, None])
def test_an_array_that_is_missing_or_cut_short(folder: Path, kept: int | None) -> None:
    path = folder / "train/target.npy"
    content = path.read_bytes()[:kept]
    path.unlink()
    if kept is not None:
        path.write_bytes(content)
    refused(folder, f"{path} cannot be used (")


def test_arrays_of_the_wrong_kind(folder: Path) -> None:
    path = folder / "train/target.npy"
    right = np.load(path)
    for wrong in (right.astype(np.float32), right[:9], right.transpose(0, 3, 1, 2)):
        np.save(path, wrong)
        refused(
            folder,
            f"{path} cannot be used (it holds {wrong.dtype} {wrong.shape}): it should be an .npy ",
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,split,label,source,width,height\n", "cannot be used (it has 0 train photos, the "),
        (b"\xff\xfe\x00", "cannot be used ("),
    ],
)
def test_an_index_that_does_not_fit(folder: Path, content: bytes, said: str) -> None:
    (folder / "index.csv").write_bytes(content)
    refused(folder, f"{folder / 'index.csv'} {said}")


def test_labels_and_ids_stay_text(write_arrays: Callable[..., Path]) -> None:
    folder = write_arrays("rgb", train=2, val=0, test=0)
    text = (folder / "index.csv").read_text()
    text = text.replace("train0,train,sea", "0012,train,NA").replace(
        "train1,train,sea", "1e5,train,"
    )
    (folder / "index.csv").write_text(text)
    index = open_split(folder, "train").index
    assert list(index["id"]) == ["0012", "1e5"]
    assert list(index["label"]) == ["NA", ""]


def test_a_split_is_pickled_as_its_path_not_as_its_photos(folder: Path) -> None:
    split = open_split(folder, "train")
    pickled = pickle.dumps(split)
    assert len(pickled) < 1000
    assert (pickle.loads(pickled).input == split.input).all()
    part = pickle.loads(pickle.dumps(split.take([3, 1])))
    assert (part.target == split.target[[3, 1]]).all()
