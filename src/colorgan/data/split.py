"""A fixed, stratified train / val / test split by content hash."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from colorgan.config import SPLITS


def assign_splits(
    photos: Sequence[tuple[str, str, str | None]], val_fraction: float, test_fraction: float
) -> list[str]:
    """Return the split of each photo, given as (label, id, split of the source or None).

    A split that the source has is the source's; the others are drawn from the photos without
    one: in the order of label and content hash every so-manieth photo is taken, which gives each
    label its share, and the whole its exact number up to rounding.
    """
    given = {split for _, _, split in photos}
    order = sorted(
        (i for i, (_, _, split) in enumerate(photos) if split is None),
        key=lambda i: photos[i][:2],
    )
    drawn: dict[int, str] = {}
    left = 1.0
    for name, fraction in (("test", test_fraction), ("val", val_fraction)):
        if name not in given:
            taken = {i for k, i in enumerate(order) if _is_taken(k, fraction / left)}
            drawn |= dict.fromkeys(taken, name)
            order = [i for i in order if i not in taken]
            left -= fraction
    assert given <= {*SPLITS, None}
    return [split or drawn.get(i, "train") for i, (_, _, split) in enumerate(photos)]


def _is_taken(k: int, fraction: float) -> bool:
    """Say whether the k-th of a row is taken, so that each stretch of it gives its share."""
    return floor((k + 1) * fraction + 0.5) > floor(k * fraction + 0.5)
