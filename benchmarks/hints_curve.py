"""What colour hints bring, with the network and without: `python benchmarks/hints_curve.py`.

A hint is the true colour (mean a and b of 3x3 pixels) of a place in a gray test photo of 128 px.
Places are random, or where the blurred CIEDE2000 is largest: its mean over all ways, so that all
get the same hints. Those added at one step are chosen at once, apart from each other. Ways:

- product: `Colorizer.colorize` with hints.
- kernel: the automatic colours (those without hints) mixed with the hints' by a bilateral kernel
  over place and L, without features of a network.
- Levin from gray: Levin et al., "Colorization using optimization" (2004); gray without a hint.
- Levin from automatic: the same optimization of the difference to the automatic colours.

"Kept" compares, among 10 hints, the colour at a hint with the one asked for. "Spread" is the
CIEDE2000 without and with a single hint of the pixels 10 to 30 px away whose true a and b are
within 8 of the hint's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import typer
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.sparse.linalg import splu
from skimage.color import deltaE_ciede2000

from colorgan import Colorizer, Hint, color, io, paths
from colorgan.color import FloatArray, UInt8Array
from colorgan.evaluation.metrics import lab_from_pictures, psnr
from colorgan.inference.image import Picture
from compare_models import photos_of

SIDE = 128
COUNTS = (0, 1, 2, 5, 10, 20, 50)
KEPT_AT = 10
PLACES = ("random", "largest error")
# Colours of Okabe and Ito, which colour-blind readers can tell apart.
WAYS = {
    "product": ("#d55e00", "s"),
    "kernel": ("#009e73", "^"),
    "Levin from gray": ("#202124", "D"),
    "Levin from automatic": ("#0072b2", "v"),
}
DISTANCE, CONTRAST, STAY = 25.0, 10.0, 0.01
"""Widths of the kernel in pixels and L, and the weight of the automatic colour."""


class Photo:
    """A test photo, and its colours in each way for any hints, places `(N, 2)` in rows and columns.

    Attributes:
        lab: the true Lab `(H, W, 3)`.
        gray: the photo without colour `(H, W)`; `light` is its L, which all ways keep.
        colours: the 3x3 means of the true ab, which hints ask for.
        automatic: ab of the product without hints.
        allowed: the pixels where a hint can be; not in a border, which the product leaves gray.
    """

    def __init__(self, rgb: UInt8Array, colorizer: Colorizer) -> None:
        self.rgb, self.lab, self.colorizer = rgb, lab_from_pictures(rgb), colorizer
        self.gray = color.uint8_from_unit(color.rgb_within_srgb(self.lab * (1, 0, 0)))[..., 0]
        self.light = color.lightness_from_srgb(self.gray)
        self.colours = uniform_filter(self.lab[..., 1:], (3, 3, 0))
        self.neighbours = levin_weights(self.light)
        self.automatic = lab_from_pictures(colorizer.colorize(self.gray))[..., 1:]
        box = colorizer.prepare(Picture.from_array(self.gray)).box
        self.allowed = np.zeros(self.gray.shape, bool)
        self.allowed[max(1, box.top) : box.bottom - 1, max(1, box.left) : box.right - 1] = True

    def results(self, places: np.ndarray) -> dict[str, UInt8Array]:
        """Colour it in each way: sRGB `(H, W, 3)`."""
        hints = [Hint(int(x), int(y), tuple(map(float, self.colours[y, x]))) for y, x in places]
        asked, mask = np.zeros_like(self.colours), np.zeros(self.gray.shape, bool)
        for y, x in places:
            asked[y - 1 : y + 2, x - 1 : x + 2] = self.colours[y, x]
            mask[y - 1 : y + 2, x - 1 : x + 2] = True
        both = np.dstack((asked, np.where(mask[..., None], asked - self.automatic, 0)))
        if hints:
            both = levin(self.neighbours, both, mask)
        return {
            "product": self.colorizer.colorize(self.gray, hints=hints),
            "kernel": self.painted(kernel(self.light, self.automatic, places, self.colours)),
            "Levin from gray": self.painted(both[..., :2]),
            "Levin from automatic": self.painted(self.automatic + both[..., 2:]),
        }

    def painted(self, ab: FloatArray) -> UInt8Array:
        """Put ab on the L of the gray photo."""
        lab = np.dstack((self.light, ab)).astype(np.float32)
        return color.uint8_from_unit(color.rgb_within_srgb(lab))


def kernel(light: FloatArray, ab: FloatArray, places: np.ndarray, colours: FloatArray) -> Any:
    """Mix ab with the colours of places that are near and of similar L."""
    rows, columns = np.ogrid[: ab.shape[0], : ab.shape[1]]
    total, weights = STAY * ab, np.full(ab.shape[:2], STAY)
    for y, x in places:
        apart = ((rows - y) ** 2 + (columns - x) ** 2) / DISTANCE**2
        weight = np.exp(-(apart + ((light - light[y, x]) / CONTRAST) ** 2) / 2)
        total = total + weight[..., None] * colours[y, x]
        weights = weights + weight
    return total / weights[..., None]


def levin_weights(light: FloatArray) -> sp.csr_matrix:
    """Return the weights of each pixel's 8 neighbours, whose sum is 1, as in the authors' code."""
    index = np.pad(np.arange(light.size).reshape(light.shape), 1, constant_values=-1)
    near = sliding_window_view(index, (3, 3)).reshape(-1, 9)
    there, own = near >= 0, light.reshape(-1, 1).astype(np.float64) / 100
    values = np.where(there, own[near, 0], np.nan)
    apart = (values - own) ** 2
    there[:, 4] = False  # the pixel itself
    least = np.where(there, apart, np.inf).min(axis=1)
    width = np.maximum(0.6 * np.nanvar(values, axis=1), np.maximum(least / -np.log(0.01), 2e-6))
    weights = np.where(there, np.exp(-apart / width[:, None]), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(near)), there.sum(axis=1))
    return sp.csr_matrix((weights[there], (rows, near[there])), shape=(len(near),) * 2)


def levin(neighbours: sp.csr_matrix, values: FloatArray, mask: np.ndarray) -> FloatArray:
    """Make each pixel the weighted mean of its neighbours; those of the mask keep their values."""
    free = sp.diags((~mask).ravel().astype(float))
    matrix = (sp.identity(mask.size) - free @ neighbours).tocsc()
    solver = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
    solved: FloatArray = solver.solve(values.reshape(mask.size, -1).astype(np.float64))
    return solved.reshape(values.shape)


def with_largest_error(places: np.ndarray, error: FloatArray, count: int) -> np.ndarray:
    """Add places of the largest blurred error, apart from each other, up to `count`."""
    error = gaussian_filter(error, 3)
    rows, columns = np.ogrid[: error.shape[0], : error.shape[1]]
    while len(places) < count:
        y, x = np.unravel_index(np.argmax(error), error.shape)
        places = np.vstack((places, (y, x)))
        error = error * (1 - np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 8.0**2)))
    return places


def measure(photo: Photo, kind: str) -> Iterator[tuple[Any, ...]]:
    """Yield kind of places, way, measure, number of hints and value."""
    # By the photo, whose places are then the same however many photos are measured.
    random = np.random.default_rng(int(photo.rgb.sum()))
    drawn = random.permutation(np.argwhere(photo.allowed))
    places = drawn[:0]
    asked = lab_from_pictures(photo.painted(photo.colours))
    errors: dict[str, FloatArray] = {}
    for count in COUNTS:
        if kind == "random" or not count:
            places = drawn[:count]
        else:
            mean = np.mean(list(errors.values()), axis=0)
            places = with_largest_error(places, mean * photo.allowed, count)
        at = tuple(places.T)
        for way, picture in photo.results(places).items():
            lab, before = lab_from_pictures(picture), errors.get(way)
            errors[way] = error = deltaE_ciede2000(photo.lab, lab)
            yield kind, way, "ciede2000", count, error.mean()
            yield kind, way, "psnr", count, float(psnr(picture, photo.rgb))
            if count == 1:
                distance = np.hypot(*(np.indices(error.shape) - places[0][:, None, None]))
                apart = np.linalg.norm(photo.lab[..., 1:] - photo.colours[at], axis=-1)
                alike = (distance >= 10) & (distance <= 30) & (apart < 8)
                if alike.any():
                    yield kind, way, "without", count, before[alike].mean()
                    yield kind, way, "with", count, error[alike].mean()
            if count == KEPT_AT:
                for off in deltaE_ciede2000(asked[at], lab[at]):
                    yield kind, way, "kept", count, off


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of a way."""
    curves = rows.pivot_table(index="count", columns="measure", values="value").round(3)
    kept = rows["value"][rows["measure"] == "kept"]
    figures = {"median": kept.median(), "p95": kept.quantile(0.95), "within_3": (kept <= 3).mean()}
    return {
        "ciede2000": curves["ciede2000"].tolist(),
        "psnr": curves["psnr"].tolist(),
        "kept": {name: round(float(x), 3) for name, x in figures.items()},
        "spread": curves.loc[1].reindex(["without", "with"]).to_dict(),
    }


def draw(sets: dict[str, Any], image: Path) -> None:
    """Draw CIEDE2000 over the number of hints: a row a set, a column a kind of places."""
    figure = Figure((9, 0.5 + 2.8 * len(sets)), dpi=110, layout="constrained", facecolor="white")
    panels = figure.subplots(len(sets), len(PLACES), sharex=True, sharey="row", squeeze=False)
    for row, (name, found) in zip(panels, sets.items(), strict=True):
        row[0].set_ylabel("CIEDE2000")
        for axes, kind in zip(row, PLACES, strict=True):
            for way, (ink, marker) in WAYS.items():
                axes.plot(found[kind][way]["ciede2000"], color=ink, marker=marker, label=way)
            axes.set_xticks(range(len(COUNTS)), labels=map(str, COUNTS))
            axes.set_title(f"{name}, hints at places: {kind}", loc="left", fontsize=10)
            axes.grid(axis="y", color="#e8eaed")
    for axes in panels[-1]:
        axes.set_xlabel("hints")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(image, metadata={"Software": None})


def main(
    model: str = paths.PRETRAINED,
    photos: Annotated[int, typer.Option(help="Photos of each set, at even distances")] = 25,
    arrays: Annotated[Path, typer.Option(help="LAB arrays")] = Path("data/processed/lab"),
    parquet: Annotated[list[Path] | None, typer.Option(help="Folders of Parquet files")] = None,
    out: Path = paths.REPORTS / "benchmarks" / "hints.json",
    image: Path = Path("docs/images/hints.png"),
) -> None:
    """Measure, print the figures, and write them and the curve."""
    started, colorizer = time.perf_counter(), Colorizer.load(model, device="cpu")
    sets: dict[str, Any] = {}
    for name, source in {"bundled": arrays, **{one.name: one for one in parquet or []}}.items():
        made: list[tuple[Any, ...]] = []
        for rgb in photos_of(source, "test", photos)[0]:
            photo = Photo(np.asarray(Image.fromarray(rgb).resize((SIDE, SIDE))), colorizer)
            made += [row for kind in PLACES for row in measure(photo, kind)]
        rows = pd.DataFrame(made, columns=["places", "way", "measure", "count", "value"])
        sets[name] = {
            kind: {way: summary(chosen[chosen["way"] == way]) for way in WAYS}
            for kind, chosen in rows.groupby("places")
        }
        for kind, way in ((kind, way) for kind in PLACES for way in WAYS):
            print(name, kind, way, *sets[name][kind][way].items(), sep="; ")
    io.write_json(out, {"counts": COUNTS, "photos": photos, "sets": sets})
    draw(sets, image)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    typer.run(main)
