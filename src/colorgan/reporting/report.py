"""The report: one HTML file that contains its pictures and loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

from jinja2 import Environment, PackageLoader, StrictUndefined

from colorgan.config import Params, flat
from colorgan.evaluation.metrics import HUE_TOLERANCE
from colorgan.reporting import findings, measures
from colorgan.reporting.measures import number, readable
from colorgan.reporting.results import Results

CLASS_MEASURES = (
    measures.PSNR,
    measures.SSIM,
    measures.CIEDE2000,
    measures.COLORFULNESS,
    replace(measures.COLORFULNESS, key="truth_colorfulness", label="of the truth"),
    replace(measures.CIEDE2000, key="gray_ciede2000", label="CIEDE2000 of gray"),
)
FEW_IN_CLASS = 3
"""Classes with fewer photos than this say little: they are shown in italics."""


def render(params: Params, results: Mapping[str, Results], images: Mapping[str, bytes]) -> str:
    """Fill in report.html.j2; `images` are PNGs by name, as in reports/grids."""
    environment = Environment(
        loader=PackageLoader("colorgan.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "readable": readable}
    scores = {space: result.scores for space, result in results.items()}
    columns = [flat(params.space(space)) for space in results]
    computed = {key for score in scores.values() for key in score.generated}
    return environment.get_template("report.html.j2").render(
        scores=scores,
        verdict=findings.compare_spaces(results),
        sample_size=findings.sample_size(scores),
        measures=[measure for measure in measures.MEASURES if measure.key in computed],
        colorfulness=measures.COLORFULNESS,
        axes=findings.AXES,
        findings={space: findings_by_heading(result) for space, result in results.items()},
        class_measures=CLASS_MEASURES,
        classes={
            space: result.per_class.sort_values(["ciede2000", "label"]).to_dict("records")
            for space, result in results.items()
        },
        few_in_class=FEW_IN_CLASS,
        hue_tolerance=HUE_TOLERANCE,
        parameters={name: [column[name] for column in columns] for name in columns[0]},
        shared_parameters=flat(params.evaluate, "evaluate.") | flat(params.render, "render."),
        images={
            name: "data:image/png;base64," + base64.b64encode(png).decode("ascii")
            for name, png in images.items()
        },
    )


def findings_by_heading(result: Results) -> dict[str, list[str]]:
    """Return the sentences about one space, by heading."""
    return {
        "Against the gray picture": findings.against_gray(result.per_photo),
        "Colour bias": findings.color_bias(result.scores),
        "Amount of colour": findings.colorfulness(result.scores),
        "Hues": findings.hue_balance(result.hues),
    }
