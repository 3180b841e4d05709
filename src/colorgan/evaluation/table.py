"""metrics.json as a table for the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from colorgan import paths
from colorgan.errors import ColorganError

COLUMNS = (
    ("PSNR\ndB ↑", "psnr", "{:.2f}"),
    ("SSIM\n↑", "ssim", "{:.3f}"),
    ("CIEDE\n2000 ↓", "ciede2000", "{:.2f}"),
    ("FD ↓\nLite2", "frechet_lite2", "{:.1f}"),
    ("colour-\nfulness", "colorfulness", "{:.1f}"),
    ("gap\n↓", "colorfulness_gap", "{:.1f}"),
    ("hue\nright ↑", "hue_share", "{:.1%}"),
    ("shift\na", "shift_a", "{:+.1f}"),
    ("shift\nb", "shift_b", "{:+.1f}"),
    ("FID\n↓", "fid", "{:.1f}"),
    ("LPIPS\n↓", "lpips", "{:.3f}"),
)
"""Heading, key in metrics.json and format of each column."""
OPTIONAL = ("frechet_lite2", "fid", "lpips")
UNKNOWN = "–"
ABOUT_FRECHET = (
    "FD Lite2: Fréchet distance on features of EfficientNet-Lite2, which is no FID.\n"
    "On few photos it is too large: compare it on the same photos alone."
)


def metrics_table(path: Path = paths.METRICS, hue_tolerance: float | None = None) -> Table:
    """Build a table of metrics.json, at most 100 columns wide: a row a space and picture.

    Arrows say which way is better. The caption has what the truth scores, to read the
    colourfulness against.

    Args:
        path: the metrics.json to read.
        hue_tolerance: `evaluate.hue_tolerance` in degrees, for the heading of the hue share.

    Raises:
        ColorganError: the file is missing or was not written by `evaluate`.
    """
    content = _read(path)
    columns = [
        column for column in COLUMNS if column[1] not in OPTIONAL or _has(content, column[1])
    ]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=_caption(content),
        caption_justify="left",
    )
    table.add_column("picture", no_wrap=True)
    for heading, key, _ in columns:
        if key == "hue_share" and hue_tolerance is not None:
            heading = f"hue to\n{hue_tolerance:g}° ↑"
        table.add_column(heading, justify="right", no_wrap=True)
    for space, summary in content.items():
        for kind in ("generated", "gray"):
            cells = (_cell(summary[kind].get(key), form) for _, key, form in columns)
            table.add_row(f"{space} {kind}", *cells, end_section=kind == "gray")
    return table


def _cell(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)


def _has(content: dict[str, Any], key: str) -> bool:
    return any(key in summary["generated"] for summary in content.values())


def _caption(content: dict[str, Any]) -> str:
    lines = [
        f"{space}: {summary['photos']} photos, colourfulness of the truth "
        + _cell(summary["truth"]["colorfulness"], "{:.1f}")
        for space, summary in content.items()
    ]
    if _has(content, "frechet_lite2"):
        lines.append(ABOUT_FRECHET)
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Any]:
    again = "run `dvc repro evaluate` (or `python -m colorgan evaluate`)"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ColorganError(f"{path} does not exist: {again} first") from None
    except ValueError as error:
        raise ColorganError(f"{path} is not valid JSON ({error}): {again} again") from None
    if not (isinstance(content, dict) and all(map(_is_summary, content.values()))):
        raise ColorganError(f"{path} does not hold the metrics of a space: {again} again")
    return content


def _is_summary(part: Any) -> bool:
    return isinstance(part, dict) and {"photos", "generated", "gray", "truth"} <= part.keys()
