"""Grids of photos."""

from __future__ import annotations

import numpy as np

from colorgan import pictures
from colorgan.color import UInt8Array

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def plain(colour: tuple[int, int, int], height: int = 40, width: int = 60) -> UInt8Array:
    return np.full((height, width, 3), colour, np.uint8)


def test_pictures_lie_in_their_cells() -> None:
    row = [plain(colour) for colour in COLOURS]
    sheet = np.asarray(pictures.grid([row, row[::-1]]))
    assert sheet.shape == (2 * 44 + 4, 3 * 64 + 4, 3)
    for i, colours in enumerate((COLOURS, COLOURS[::-1])):
        for j, colour in enumerate(colours):
            cell = sheet[4 + i * 44 : 44 + i * 44, 4 + j * 64 : 64 + j * 64]
            assert (cell == colour).all()
    covered = (sheet != 255).any(-1).sum()
    assert covered == 6 * 40 * 60


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
