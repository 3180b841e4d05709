"""docs/performance.md, written from the figures of every device that was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from colorgan import io
from colorgan.benchmark.measure import VERSION
from colorgan.benchmark.plot import bar_plot
from colorgan.benchmark.variants import Setting

PAGE = Path("docs") / "performance.md"
IMAGES = Path("docs") / "images"
STEP = "step.json"
"""What benchmarks/step.py writes."""
COLUMNS = ("", "images/s", "ms a step (quartiles)", "against base", "peak memory",
           "waiting for data", "of the matrix peak")  # fmt: skip
SHORT = ("", "images/s", "ms", "ratio", "memory", "waiting", "of peak")
"""The same in the terminal."""
NO_PLOT = "The plot is left out: it needs matplotlib."
KINDS = {"cuda": "CUDA GPU", "cpu": "CPU"}
HEAD = """# Performance

<!-- Written by `python -m colorgan benchmark`: change the command, not this page. -->

What each optimization of the training step brings, one at a time against a plain base and all
together, measured in one run on each device that was at hand. Nothing here is estimated: what a
device cannot do is listed with the reason.

A step is one update of the discriminator and one of the generator, reading, conversion to floats
and augmentation of the batch included. Each row is a process of its own and takes turns with the
base, so that a machine that is busy with other things slows both.

The base computes in float32, channels first, in the training process alone, with every flag off and
Adam as PyTorch makes it by default. *Denormals flushed* and *freed memory kept* are switches of the
CPU and of its C library; *deep layers as products* computes the layers of the U-Net that have few
pixels as matrix products; *all together* is what training does by itself on the device.

- **images/s, ms a step**: of the median step; in brackets the quartiles.
- **against base**: speed over that of the base in the same turns, the median of the turns. The row
  *base once more* shows how much of that is noise.
- **peak memory**: on a GPU of all tensors, on a CPU by how much the process grew, workers left out.
- **waiting for data**: the share of the time in which the device had no batch to work on.
- **of the matrix peak**: the FLOPs of the networks over the time of a step, as a share of the
  fastest multiplication of square matrices, or large convolution, measured on the device in the
  same arithmetic. FLOPs are those of convolutions, forward and backward; a multiplication and an
  addition are two.
"""


def write(folder: Path, page: Path = PAGE, images: Path = IMAGES) -> Path:
    """Write the page from all figures in `folder`, with a plot a device; return it."""
    results = read(folder)
    parts = [HEAD]
    for name, result in results.items():
        plot = images / f"{name}.png"
        picture = bar_plot(_measured(result), _title(result))
        if picture is not None:
            with io.file_aside(plot) as aside:
                aside.write_bytes(picture)
        link = f"{images.name}/{plot.name}" if plot.exists() else ""
        parts.append(_section(result, link))
    parts += _against_usual(folder / STEP)
    there = {result["machine"]["kind"] for result in results.values()}
    missing = [f"No {KINDS[kind]} has been measured yet." for kind in KINDS if kind not in there]
    if missing:
        parts.append("## Not measured\n\n" + "\n".join(missing) + "\n")
    with io.file_aside(page) as aside:
        aside.write_text("\n".join(parts), encoding="utf-8")
    return page


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the figures in `folder` by name of their file; those of other versions are left."""
    found = {}
    for path in sorted(folder.glob("performance-*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("version") == VERSION:
            found[path.stem] = content
    return found


def table(result: dict[str, Any]) -> Table:
    """Return the figures of a run for the terminal."""
    shown = Table(title=_title(result))
    for i, column in enumerate(SHORT):
        shown.add_column(column, justify="right" if i else "left", no_wrap=True)
    for row in _measured(result):
        shown.add_row(
            *(cell.partition(" (")[0] if i else cell for i, cell in enumerate(_cells(row)))
        )
    return shown


def missing_lines(result: dict[str, Any]) -> list[str]:
    """Return a line for each row that could not be measured, with the reason."""
    return [f"{row['label']}: {row['missing']}." for row in result["variants"] if "missing" in row]


def _section(result: dict[str, Any], plot: str) -> str:
    machine, peaks = result["machine"], result["peaks"]
    lines = [f"## {_title(result)}", ""]
    lines += [
        f"PyTorch {machine['torch']}, {machine['system']}, {machine['threads']} CPU "
        f"thread{'s' if machine['threads'] > 1 else ''}. "
        f"{result['seconds']:g} s a row in {result['rounds']} turns.",
        "",
        f"Arithmetic of a step: {result['flops'] / 1e9:,.0f} GFLOP. Matrix peak: "
        + ", ".join(f"{name} {_rate(peak)}" for name, peak in peaks.items())
        + ".",
        "",
    ]
    lines += _markdown(COLUMNS, [_cells(row) for row in _measured(result)])
    lines += ["", f"![Speed against the base]({plot})" if plot else NO_PLOT, ""]
    lines += [
        f"- {row['label']}: {row['warmup_seconds']:.0f} s passed before the first timed step."
        for row in _measured(result)
        if "compile" in row["name"]
    ]
    lines += [*(f"- {line}" for line in missing_lines(result)), ""]
    return "\n".join(lines)


def _against_usual(path: Path) -> list[str]:
    """Return the section on the whole step against the usual way, if it was measured."""
    if not path.exists():
        return []
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        (way["label"], f"{way['images_per_second']:.1f}", _milliseconds(way), f"{way['ratio']:.2f}",
         f"{way['waiting']:.1%}")
        for way in result["ways"]
    ]  # fmt: skip
    columns = ("", "images/s", "ms a step (quartiles)", "against the usual way", "waiting for data")
    return [
        "\n".join(
            [
                "## The whole step against the usual way",
                "",
                f"{result['machine']['name']}. {Setting(**result['setting'])}, the bundled photos. "
                "The usual way is [benchmarks/usual.py](../benchmarks/usual.py): float32, Adam as "
                "it comes, each photo opened, resized and converted when it is asked for, the "
                "losses read at every step; the faster of 0 and 2 workers counts.",
                "",
                *_markdown(columns, rows),
                "",
            ]
        )
    ]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)]


def _title(result: dict[str, Any]) -> str:
    quick = " (a quick look)" if result.get("quick") else ""
    return f"{result['machine']['name']}: {Setting(**result['setting'])}{quick}"


def _measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["variants"] if "missing" not in row]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    peak = row["peak_bytes"]
    return (
        row["label"],
        f"{row['images_per_second']:,.1f}",
        _milliseconds(row),
        f"{row['ratio']:.2f}",
        "unknown" if peak is None else f"{peak / 2**30:.2f} GiB",
        f"{row['waiting']:.1%}",
        f"{row['share_of_peak']:.0%} of {row['arithmetic']}",
    )


def _milliseconds(row: dict[str, Any]) -> str:
    low, high = row["ms_quartiles"]
    digits = 0 if low >= 100 else 1
    return f"{row['ms']:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def _rate(flops: float) -> str:
    return f"{flops / 1e12:.2f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"
