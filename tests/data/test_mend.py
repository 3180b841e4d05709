"""Harmless damage is mended; what loses pixels is refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colorgan.data.decode import UnreadablePhoto, decode, opened

RGB = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def encoded(format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "options", "cuts"),
    [
        ("JPEG", {}, (1, 2)),
        ("JPEG", {"progressive": True}, (1, 2)),
        ("PNG", {}, (1, 4, 11, 12, 14)),
    ],
    ids=["jpeg", "progressive", "png"],
)
def test_a_missing_end_is_mended(format: str, options: dict[str, Any], cuts: Any) -> None:
    content = encoded(format, **options)
    for cut in cuts:
        with opened(content[:-cut]) as pages:
            image, _ = pages[0].load()
        assert pages[0].warning == "damaged: its end is missing"
        assert (np.asarray(image) == np.asarray(decode(content, 0).image)).all()


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("PNG", {}),
    ],
    ids=["jpeg", "progressive", "restart markers", "png"],
)
def test_missing_pixels_are_refused(format: str, options: dict[str, Any]) -> None:
    content = encoded(format, **options)
    restarts = [len(content) - i for i in range(len(content) - 1) if content[i] == 0xFF]
    for cut in (200, 1000, *restarts[-9:-1], len(content) // 2, len(content) - 700):
        with pytest.raises(UnreadablePhoto, match="unreadable"):
            decode(content[:-cut], 90)
