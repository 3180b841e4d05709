"""The stage `render_grids`: draw grids, curves and histograms, and write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from colorgan import io, paths, pictures
from colorgan.config import Params
from colorgan.data.arrays import Split, open_split
from colorgan.errors import ColorganError
from colorgan.model import Model
from colorgan.reporting import curves, grids, report
from colorgan.reporting.results import EVALUATE, Results, read_results
from colorgan.runs.runtime import choose_device
from colorgan.tracking.run import record_results


def render_grids(params: Params, spaces: Sequence[str]) -> None:
    """Write reports/grids/*.png and reports/report.html of `spaces`, and record them.

    The same models, photos, measures and parameters give the same bytes. ColorganError if an
    input is missing or does not fit the others; nothing is written then.
    """
    results = read_results(spaces)
    device = choose_device(params.runtime.device)
    models = {space: Model.load(paths.model(space), device) for space in spaces}
    images = photo_grids(params, results, models) | plots(results)
    html = report.render(params, results, images)
    with io.folder_aside(paths.GRIDS) as folder:
        for name, png in images.items():
            (folder / f"{name}.png").write_bytes(png)
    with io.file_aside(paths.REPORT) as aside:
        aside.write_text(html, encoding="utf-8")
    for space, model in models.items():
        own = [paths.GRIDS / f"{name}.png" for name in images if name.startswith(f"{space}_")]
        record_results(
            stage=f"render_{space}",
            space=space,
            generator_sha256=model.sha256,
            metrics={},
            artifacts=[*own, paths.REPORT],
        )


def photo_grids(
    params: Params, results: Mapping[str, Results], models: Mapping[str, Model]
) -> dict[str, bytes]:
    """Draw the grids of photos, as PNGs by name. Only the photos shown are coloured."""
    cfg = params.render
    splits = {space: open_test_photos(space, results[space]) for space in models}
    indexes = {space: split.index for space, split in splits.items()}
    shared = grids.shared_rows(indexes, cfg.rows) if len(models) > 1 else {}
    made: dict[str, Image.Image] = {}
    side_by_side: dict[str, list[grids.Shown]] = {}
    for space, model in models.items():
        rows, common = grids.choose_by_class(indexes[space], cfg.rows), shared.get(space, [])
        best, worst = grids.extremes(results[space].per_photo, cfg.extremes)
        wanted = [*rows, *common, *best["photo"].astype(int), *worst["photo"].astype(int)]
        shown = grids.color_rows(model, splits[space], wanted, params.evaluate.batch_size)
        chosen = [shown[row] for row in rows]
        made[f"{space}_grid"] = grids.triples(chosen, [photo.name for photo in chosen])
        if len(best):
            made[f"{space}_best_worst"] = grids.extremes_grid(shown, best, worst)
        if common:
            side_by_side[space] = [shown[row] for row in common]
    if side_by_side:
        made["both_grid"] = grids.both_grid(side_by_side)
    return {name: pictures.png_bytes(image) for name, image in made.items()}


def open_test_photos(space: str, measured: Results) -> Split:
    """Open the test split, and check that the measures belong to it."""
    split = open_split(paths.processed(space), "test")
    if measured.per_photo.set_index("photo")["id"].to_dict() != dict(enumerate(split.index["id"])):
        raise ColorganError(
            f"{paths.PER_PHOTO} measures other photos than the test split of "
            f"{paths.processed(space)} holds: {EVALUATE}"
        )
    return split


def plots(results: Mapping[str, Results]) -> dict[str, bytes]:
    """Draw the plots, as PNGs by name; those with nothing to draw are left out."""
    made: dict[str, bytes | None] = {}
    for space, measured in results.items():
        made[f"{space}_losses"] = curves.line_panels(measured.losses, "iteration")
        made[f"{space}_validation"] = curves.line_panels(measured.validation, "epoch")
        made[f"{space}_hues"] = curves.hue_histogram(measured.hues)
    return {name: png for name, png in made.items() if png is not None}
