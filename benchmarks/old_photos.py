"""How fading, borders, scratches and grain change the colours: `python benchmarks/old_photos.py`.

Takes the test photos of a folder of arrays (data/processed/lab, or of `lab.image_size=256`), ages
their gray, colours it with the pretrained model as `colorgan colorize` does, and compares a and b
with those of the photo, on the photo's own L (CIEDE2000, mean over the photos). Each kind of ageing
is measured with and without the remedies of `inference.prepare`: cut the border, stretch the range.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colorgan import color, paths, pictures
from colorgan.color import FloatArray
from colorgan.data.arrays import open_split
from colorgan.evaluation.metrics import ciede2000
from colorgan.inference import prepare
from colorgan.inference.colorizer import Colorizer

BORDER = 20
random = np.random.default_rng(0)


def fade(low: float, high: float) -> Callable[[FloatArray], FloatArray]:
    """Squeeze gray into a part of its range."""
    return lambda gray: low + (high - low) * gray


def grain(gray: FloatArray) -> FloatArray:
    """Add noise of a standard deviation of 5% to every pixel."""
    return np.clip(gray + random.normal(0, 0.05, gray.shape), 0, 1)


def scratch(gray: FloatArray) -> FloatArray:
    """Draw twelve bright scratches from top to bottom."""
    scratched = gray.copy()
    for column in random.integers(0, gray.shape[1], 12):
        scratched[:, column] = random.uniform(0.75, 1)
    return scratched


def frame(level: float) -> Callable[[FloatArray], FloatArray]:
    """Put an even border around."""
    return lambda gray: np.pad(gray, BORDER, constant_values=level)


def sepia(gray: FloatArray) -> FloatArray:
    """Tone gray brown, its lightness kept: `(H, W, 3)`."""
    lightness = color.lightness_from_srgb(gray)
    lab = np.stack((lightness, np.full_like(gray, 8), np.full_like(gray, 22)), axis=-1)
    return color.rgb_within_srgb(lab)


AGED: dict[str, Callable[[FloatArray], FloatArray]] = {
    "as it is": lambda gray: gray,
    "faded to the middle (0.35 to 0.8)": fade(0.35, 0.8),
    "dark (0 to 0.45)": fade(0.0, 0.45),
    "sepia": sepia,
    "a white border": frame(0.92),
    "a black border": frame(0.02),
    "scratches": scratch,
    "grain of 5%": grain,
    "all of it": lambda gray: sepia(
        np.clip(frame(0.92)(fade(0.3, 0.8)(scratch(grain(gray)))), 0, 1)
    ),
}


def main(
    folder: str = "data/processed/lab", sheet: str = "", model: str = paths.PRETRAINED
) -> None:
    split = open_split(Path(folder), "test")
    lab8 = np.concatenate((split.input[:][..., None], split.target[:]), axis=-1)
    truth = color.rgb8_from_lab8(lab8)
    colorizer = Colorizer.load(model, device="cpu")
    lab8[..., 1:] = 128
    print(f"gray: {ciede2000(color.rgb8_from_lab8(lab8), truth).mean():.2f}")
    for side in (128, 192, 256):
        seen = Colorizer(colorizer.network, side)
        plain = [seen.colorize(color.luma_from_srgb(photo)) for photo in truth]
        print(f"the network sees {side} px: {error(plain, truth):.2f}")
    print("| | CIEDE2000 | without remedies |\n| --- | ---: | ---: |")
    rows = []
    for name, age in AGED.items():
        aged = [age(color.luma_from_srgb(photo)).astype(np.float32) for photo in truth]
        colored = [colorizer.colorize(one) for one in aged]
        figures = [error(colored, truth)]
        without_remedies(lambda aged=aged, figures=figures: figures.append(
            error([colorizer.colorize(one) for one in aged], truth)
        ))  # fmt: skip
        print(f"| {name} | {figures[0]:.2f} | {figures[1]:.2f} |", flush=True)
        rows.append((aged, colored))
    if sheet:
        draw(rows, truth, Path(sheet))


def without_remedies(measure: Callable[[], None]) -> None:
    """Measure without border detection and without stretching."""
    find, stretch = prepare.find_border, prepare._stretched
    prepare.find_border = lambda photo: prepare.Box(0, len(photo.pixels), 0, photo.pixels.shape[1])
    prepare._stretched = lambda input: input
    try:
        measure()
    finally:
        prepare.find_border, prepare._stretched = find, stretch


def error(colored: list[NDArray[np.uint8]], truth: NDArray[np.uint8]) -> float:
    """Put the a and b on the photo's own L and return the mean CIEDE2000."""
    side = truth.shape[1]
    edge = [(picture.shape[0] - side) // 2 for picture in colored]
    cut = np.stack([p[e : e + side, e : e + side] for p, e in zip(colored, edge, strict=True)])
    lab = color.lab_from_rgb(truth.astype(np.float32) / 255)
    lab[..., 1:] = color.lab_from_rgb(cut.astype(np.float32) / 255)[..., 1:]
    return float(ciede2000(color.uint8_from_unit(color.rgb_from_lab(lab)), truth).mean())


def draw(rows: list, truth: NDArray[np.uint8], sheet: Path) -> None:
    """Write a sheet: four photos, aged in all ways and coloured."""
    side = truth.shape[1]
    grid = []
    for photo in (3, 12, 22, 35):
        row = [truth[photo]]
        aged, colored = rows[-1][0][photo], rows[-1][1][photo]
        for picture in (color.uint8_from_unit(aged), colored):
            edge = (picture.shape[0] - side) // 2
            row.append(picture[edge // 2 : edge // 2 + side, edge // 2 : edge // 2 + side])
        grid.append(row)
    pictures.grid(grid, ("photo", "aged", "coloured")).save(sheet)


if __name__ == "__main__":
    main(*sys.argv[1:])
