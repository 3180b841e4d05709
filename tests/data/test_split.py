"""The split: fixed, stratified, in exact shares."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from colorgan.data.split import assign_splits

Photos = list[tuple[str, str, str | None]]


def photos(**labels: int) -> Photos:
    rng = random.Random(0)
    return [
        (label, f"{rng.getrandbits(64):016x}", None)
        for label, n in labels.items()
        for _ in range(n)
    ]


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 99, 100, 205, 1000])
@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0, 0.25), (0.15, 0), (0, 0), (0.05, 0.9)])
def test_shares_are_exact_up_to_rounding(n: int, val: float, test: float) -> None:
    counts = Counter(assign_splits(photos(sea=n), val, test))
    assert sum(counts.values()) == n
    assert abs(counts["test"] - n * test) <= 0.5
    assert abs(counts["val"] - n * val) <= 1
    if not val:
        assert not counts["val"]
    if not test:
        assert not counts["test"]


def test_each_label_gets_its_share() -> None:
    some = photos(sea=100, forest=40, bird=12, one=1)
    splits = assign_splits(some, 0.1, 0.2)
    for label, n in (("sea", 100), ("forest", 40), ("bird", 12)):
        counts = Counter(s for (of, _, _), s in zip(some, splits, strict=True) if of == label)
        assert abs(counts["test"] - 0.2 * n) <= 1
        assert abs(counts["val"] - 0.1 * n) <= 1.5


def test_the_order_of_the_photos_does_not_matter() -> None:
    some = photos(sea=30, forest=20)
    splits = dict(zip(some, assign_splits(some, 0.2, 0.2), strict=True))
    shuffled = random.Random(1).sample(some, len(some))
    assert dict(zip(shuffled, assign_splits(shuffled, 0.2, 0.2), strict=True)) == splits


def test_the_source_keeps_its_own_splits() -> None:
    own: Photos = [("sea", f"{i:03}", "test" if i % 4 == 0 else None) for i in range(100)]
    splits = assign_splits(own, 0.2, 0.5)
    assert all((s == "test") == (photo[2] == "test") for photo, s in zip(own, splits, strict=True))
    # Of the 75 that have none; nothing is drawn for a test there already is.
    assert Counter(splits) == {"test": 25, "val": 15, "train": 60}


def test_a_whole_split_of_the_source_is_left_as_it_is() -> None:
    own: Photos = [("", f"{i}", name) for i, name in enumerate(("train", "val", "test"))]
    assert assign_splits(own, 0.3, 0.3) == ["train", "val", "test"]


def test_no_photos() -> None:
    assert assign_splits([], 0.1, 0.2) == []
