"""Grids of photos."""

from __future__ import annotations

import numpy as np

from colorgan import pictures
from colorgan.color import UInt8Array

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def plain(colour: tuple[int, int, int], height: int = 40, width: int = 60) -> UInt8Array:
    return np.full((height, width, 3), colour, np.uint8)


def test_headings_and_captions_get_room_of_their_own() -> None:
    row = [plain(colour) for colour in COLOURS]
    bare = pictures.grid([row])
    headed = pictures.grid([row], columns=("a long heading", "", ""))
    both = pictures.grid([row], columns=("a long heading", "", ""), captions=("what it is",))
    assert bare.height < headed.height < both.height
    assert bare.width == headed.width == both.width
    head = np.asarray(headed)[: headed.height - bare.height]
    assert (head[:, : 64 + 4] < 100).any()
    assert (head[:, 70:] == 255).all(), "it stays in its column"
