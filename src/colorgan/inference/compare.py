"""A coloured photo beside what it was made of: one picture, or a page with a slider."""

from __future__ import annotations

import base64
import html
import io
from typing import Any, Literal

import numpy as np
from PIL import Image

from colorgan.color import UInt8Array, uint8_from_unit
from colorgan.inference.image import TURNS, Photo

Comparison = Literal["side", "slider"]
ENDINGS: dict[Comparison, str] = {"side": "_compare.jpg", "slider": "_compare.html"}
"""What the names of their files end with."""
GAP = 8
LONGEST = 1600
"""Pixels of the longer side of the pictures in a page: it is to be looked at, not printed."""

WIDEST = 32_000
"""Pixels of the longer side of each picture side by side: JPEG ends at 65,500."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-content: center; background: #1b1c1f;
         color: #d6d7da; font: 15px/1.5 system-ui, sans-serif; }}
  figure {{ margin: 12px; }}
  .pair {{ position: relative; display: grid; touch-action: pan-y; }}
  .pair > * {{ grid-area: 1 / 1; }}
  img {{ display: block; max-width: calc(100vw - 24px); max-height: calc(100vh - 90px); }}
  .before {{ clip-path: inset(0 calc(100% - var(--at)) 0 0); }}
  .line {{ position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px;
          background: #fff; box-shadow: 0 0 4px #000; pointer-events: none; }}
  input {{ width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }}
  figcaption {{ display: flex; justify-content: space-between; padding-top: 6px; }}
</style>
<figure>
  <div class="pair" style="--at: 50%">
    <img class="after" alt="coloured" src="{after}">
    <img class="before" alt="before" src="{before}">
    <div class="line"></div>
    <input type="range" min="0" max="100" step="0.1" value="50" aria-label="How much is before"
           oninput="this.parentNode.style.setProperty('--at', this.value + '%')">
  </div>
  <figcaption><span>before</span><span>{title}</span><span>coloured</span></figcaption>
</figure>
</html>
"""


def compare(kind: Comparison, photo: Photo, colored: UInt8Array, name: str) -> bytes:
    """Return the content of the file with before and after; both pictures are upright.

    Args:
        kind: `side` for a JPEG of both, `slider` for a page that needs nothing else.
        photo: what was coloured.
        colored: the coloured photo, `(H, W, 3)`, laid out as the photo is.
        name: of the photo, for the page's title.
    """
    before, after = _upright(_shown(photo), photo), _upright(colored, photo)
    if kind == "side":
        before, after = (_at_most(pixels, WIDEST) for pixels in (before, after))
        gap = np.full((before.shape[0], GAP, 3), 255, np.uint8)
        return _jpeg(np.concatenate((before, gap, after), axis=1))
    sources = {"before": _data_uri(before), "after": _data_uri(after)}
    page = PAGE.format(title=html.escape(name), **sources)
    # A name may have bytes in it that are no text.
    return page.encode("utf-8", "replace")


def previews(photo: Photo, colored: UInt8Array) -> tuple[bytes, bytes]:
    """Return before and after as JPEG for a page, upright, at most LONGEST pixels long."""
    before, after = _upright(_shown(photo), photo), _upright(colored, photo)
    return _jpeg(_at_most(before, LONGEST)), _jpeg(_at_most(after, LONGEST))


def _shown(photo: Photo) -> UInt8Array:
    pixels: Any = photo.pixels
    shown: UInt8Array = pixels if pixels.dtype == np.uint8 else uint8_from_unit(pixels)
    return shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, axis=-1)


def _upright(pixels: UInt8Array, photo: Photo) -> UInt8Array:
    turn, _ = TURNS[photo.orientation]
    return np.ascontiguousarray(turn(pixels))


def _data_uri(pixels: UInt8Array) -> str:
    content = base64.b64encode(_jpeg(_at_most(pixels, LONGEST))).decode("ascii")
    return f"data:image/jpeg;base64,{content}"


def _at_most(pixels: UInt8Array, longest: int) -> UInt8Array:
    """Make a picture smaller whose longer side is longer than that."""
    image = Image.fromarray(pixels)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _jpeg(pixels: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
