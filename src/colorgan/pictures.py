"""Grids of pictures: uint8 arrays laid out in rows and columns, and written as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from colorgan.color import UInt8Array

GAP = 4
BACKGROUND = (255, 255, 255)
INK = (32, 33, 36)


def grid(
    rows: Sequence[Sequence[UInt8Array]],
    columns: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Image.Image:
    """Lay out rows of pictures, with a heading above each column and a caption below each row.

    Pictures are uint8 `(H, W, 3)` or gray `(H, W)`; all are shown at the size of the first.
    """
    height, width = rows[0][0].shape[:2]
    font_size = max(11, width // 11)
    head = font_size * 2 if columns else 0
    foot = int(font_size * 1.5) if captions else 0
    n_columns = len(rows[0])
    sheet = Image.new(
        "RGB",
        (n_columns * (width + GAP) + GAP, head + len(rows) * (height + foot + GAP) + GAP),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    for j, heading in enumerate(columns):
        middle = (GAP + j * (width + GAP) + width / 2, GAP + head / 2)
        draw.text(middle, heading, INK, _fitting(heading, font_size, width), anchor="mm")
    for i, row in enumerate(rows):
        top = head + GAP + i * (height + foot + GAP)
        for j, picture in enumerate(row):
            image = Image.fromarray(picture).convert("RGB").resize((width, height))
            sheet.paste(image, (GAP + j * (width + GAP), top))
        if captions:
            font = _fitting(captions[i], font_size - 1, sheet.width - 2 * GAP)
            draw.text((GAP, top + height + foot / 2), captions[i], INK, font, anchor="lm")
    return sheet


def png_bytes(image: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


_font = cache(ImageFont.load_default)


def _fitting(text: str, size: int, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the largest font, from 8 to `size`, in which the text fits `width`."""
    while size > 8 and _font(size).getlength(text) > width:
        size -= 1
    return _font(size)
