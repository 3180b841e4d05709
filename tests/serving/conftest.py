"""A gray photo to colour on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import ROOT
from PIL import Image


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    with Image.open(ROOT / "data/sample/landscape/machu_picchu.webp") as image:
        image.convert("L").save(tmp_path / "old photo.png")
    return tmp_path / "old photo.png"
