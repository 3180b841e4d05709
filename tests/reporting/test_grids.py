"""Grids: which photos are chosen, and that each lies where it should."""

from __future__ import annotations

import numpy as np
import pandas as pd
from made_up_results import LABELS, make_photos

from colorgan.pictures import GAP
from colorgan.reporting import grids
from colorgan.reporting.grids import Shown

SIDE = 32


def _index(labels) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"p{i}" for i in range(len(labels))], "label": labels})


def _shown(name: str, value: int, side: int = SIDE) -> Shown:
    parts = (np.full((side, side, 3), value + i, np.uint8) for i in range(3))
    return Shown(name, *parts)


def _at(sheet, row: int, column: int, rows: int) -> set[tuple[int, ...]]:
    """Return the colours of the picture at a place of a sheet of `rows` rows."""
    pixels = np.asarray(sheet)
    font = 11
    foot, head = int(font * 1.5), font * 2
    assert pixels.shape[0] == head + rows * (SIDE + foot + GAP) + GAP
    top = head + GAP + row * (SIDE + foot + GAP)
    left = GAP + column * (SIDE + GAP)
    picture = pixels[top : top + SIDE, left : left + SIDE]
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_shared_rows_are_the_same_photos_at_each_splits_own_place():
    first = pd.DataFrame({"id": ["x", "a", "b"], "label": ["u", "v", "w"]})
    second = pd.DataFrame({"id": ["b", "y", "z", "a"], "label": ["w", "p", "q", "v"]})
    assert grids.shared_rows({"rgb": first, "lab": second}, 9) == {"rgb": [1, 2], "lab": [3, 0]}


def test_extremes_are_the_ends_of_ciede2000_and_do_not_overlap():
    best, worst = grids.extremes(make_photos("rgb", [5.0, 1.0, 9.0, float("nan"), 7.0]), 2)
    assert list(best["id"]) == ["p1", "p0"]
    assert list(worst["id"]) == ["p2", "p4"]
    best, worst = grids.extremes(make_photos("rgb", [5.0, 1.0, 9.0]), 2)
    assert (list(best["id"]), list(worst["id"])) == (["p1", "p0"], ["p2"])


def test_choice_takes_one_of_each_class_before_a_second():
    index = _index(LABELS)
    assert set(index["label"].iloc[grids.choose_by_class(index, 3)]) == set(LABELS)
    assert index["label"].iloc[grids.choose_by_class(index, 5)].value_counts()["sail_boat"] == 1
    assert sorted(grids.choose_by_class(index, 100)) == list(range(len(LABELS)))
    # Not the first letters of the alphabet alone.
    index = _index([f"class{i:02}" for i in range(20)])
    labels = list(index["label"].iloc[grids.choose_by_class(index, 4)])
    assert labels == ["class00", "class05", "class10", "class15"]


def test_pictures_lie_in_their_rows_and_columns():
    """Gray, truth, generated; a column for each space; the best above the worst."""
    one, two = _shown("one", 10), _shown("two", 50)
    sheet = grids.triples([one, two], ["one", "two"])
    assert [_at(sheet, 0, j, 2) for j in range(3)] == [{(10,) * 3}, {(11,) * 3}, {(12,) * 3}]
    assert [_at(sheet, 1, j, 2) for j in range(3)] == [{(50,) * 3}, {(51,) * 3}, {(52,) * 3}]
    sheet = grids.both_grid({"rgb": [one], "lab": [_shown("two", 50, side=16)]})
    found = [_at(sheet, 0, j, 1) for j in range(4)]
    assert found == [{(10,) * 3}, {(11,) * 3}, {(12,) * 3}, {(52,) * 3}]
    best, worst = grids.extremes(make_photos("rgb", [5.0, 1.0]), 1)
    sheet = grids.extremes_grid({0: one, 1: two}, best, worst)
    assert _at(sheet, 0, 2, 2) == {(52,) * 3}
    assert _at(sheet, 1, 2, 2) == {(12,) * 3}
