"""Sheets of real and coloured test photos in random order, for a reader who judges each of them.

    python benchmarks/blind_test.py make models/pretrained SHEETS \
        --photos data/processed/lab --count 41 --photos WIDE --count 60
    python benchmarks/blind_test.py score SHEETS.json ANSWERS

Each photo is shown once, as it is or coloured at the model's own gain, in a folder SHEETS of PNG
files. SHEETS.json, beside it, is the key: keep it from the reader. ANSWERS is a text file with a
line for each picture: its number and `real`, `machine` or `gray` (nearly gray).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw

from colorgan.color import UInt8Array
from colorgan.errors import ColorganError
from colorgan.model import Model
from compare_models import painted, photos_of, predicted

SEED, COLUMNS, ROWS, SIDE, LABEL = 11, 5, 4, 192, 14
ANSWERS = ("real", "machine", "gray")

app = typer.Typer(add_completion=False)


@app.command()
def make(
    model: Path,
    sheets: Path,
    photos: Annotated[list[Path], typer.Option()],
    count: Annotated[list[int], typer.Option()],
) -> None:
    """Write the sheets and the key; half of the photos are coloured."""
    key = sheets.with_name(sheets.name + ".json")
    if sheets.exists() or len(photos) != len(count):
        sys.exit(f"{sheets} should be a new folder, and each --photos should have its --count")
    colorizer, random = Model.load(model), np.random.default_rng(SEED)
    shown: list[tuple[Image.Image, bool]] = []
    for folder, n in zip(photos, count, strict=True):
        truth, _ = photos_of(folder, "test", n)
        made = painted(*predicted(colorizer, truth), colorizer.gain)
        coloured = random.permutation(len(truth)) < len(truth) // 2
        for pair, is_coloured in zip(zip(truth, made, strict=True), coloured, strict=True):
            shown.append((enlarged(pair[int(is_coloured)]), bool(is_coloured)))
    shown = [shown[i] for i in random.permutation(len(shown))]
    sheets.mkdir(parents=True)
    per_sheet = COLUMNS * ROWS
    for start in range(0, len(shown), per_sheet):
        sheet = Image.new("RGB", (COLUMNS * SIDE, ROWS * (SIDE + LABEL)), "white")
        for i, (picture, _) in enumerate(shown[start : start + per_sheet]):
            at = i % COLUMNS * SIDE, i // COLUMNS * (SIDE + LABEL)
            ImageDraw.Draw(sheet).text(at, str(start + i + 1), "black")
            sheet.paste(picture, (at[0], at[1] + LABEL))
        sheet.save(sheets / f"sheet-{start // per_sheet + 1:02}.png")
    key.write_text(json.dumps({str(i + 1): coloured for i, (_, coloured) in enumerate(shown)}))
    print(
        f"{len(shown)} photos, {sum(coloured for _, coloured in shown)} of them coloured: {sheets}"
    )


@app.command()
def score(key: Path, answers: Path) -> None:
    """Print how often real and coloured photos were called real, made by a machine and gray."""
    coloured: dict[str, bool] = json.loads(key.read_text())
    lines = [line.split() for line in answers.read_text().splitlines() if line.strip()]
    said = {line[0]: line[-1] for line in lines}
    if (
        len(lines) != len(said)
        or said.keys() != coloured.keys()
        or not set(said.values()) <= set(ANSWERS)
    ):
        sys.exit(
            f"{answers} should have a line for each of the {len(coloured)} pictures: its number "
            f"and one of {', '.join(ANSWERS)}"
        )
    for kind, is_coloured in (("real", False), ("coloured", True)):
        of_kind = [said[number] for number in coloured if coloured[number] == is_coloured]
        shares = ", ".join(f"{x} {of_kind.count(x) / len(of_kind):.0%}" for x in ANSWERS)
        print(f"{len(of_kind)} {kind} photos were called: {shares}")


def enlarged(picture: UInt8Array) -> Image.Image:
    return Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    try:
        app()
    except ColorganError as error:
        sys.exit(str(error))
