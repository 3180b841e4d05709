"""The report: one HTML file that holds its pictures and needs nothing from outside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from colorgan.config import Params, flat
from colorgan.reporting import comparison, findings
from colorgan.reporting.inputs import Numbers, Results, Scores
from colorgan.reporting.measures import (
    CIEDE2000,
    COLORFULNESS,
    COLORFULNESS_GAP,
    FID,
    FRECHET_LITE2,
    HUE_SHARE,
    LPIPS,
    PSNR,
    SSIM,
    Measure,
    present,
)
from colorgan.reporting.wording import EN_DASH, MINUS, capital, number, readable, title

TEMPLATE = "report.html.j2"
SHARED_SECTIONS = ("evaluate", "render")
"""Shown beside the parameters of the spaces; `runtime` is not: it says how the machine is used."""
CLASS_COLUMNS = (
    PSNR,
    SSIM,
    CIEDE2000,
    COLORFULNESS,
    replace(COLORFULNESS, key="truth_colorfulness", label="of the truth"),
    replace(CIEDE2000, key="gray_ciede2000", label="CIEDE2000 of gray"),
)


@dataclass(frozen=True)
class Cell:
    """A number in the metrics table.

    Attributes:
        text: the number.
        interval: its confidence interval, or empty.
        mark: `better` or `worse` than the gray picture, or empty.
    """

    text: str
    interval: str = ""
    mark: str = ""


def render(params: Params, results: Mapping[str, Results], images: Mapping[str, bytes]) -> str:
    """Fill in the template.

    Args:
        params: what everything was made with.
        results: what was measured, by space.
        images: PNGs by name, as in reports/grids.
    """
    environment = Environment(
        loader=PackageLoader("colorgan.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scores = {space: result.scores for space, result in results.items()}
    return environment.get_template(TEMPLATE).render(
        spaces=list(results),
        photos=findings.sample_size(scores),
        verdict=comparison.compare_spaces(results),
        metrics=metrics_table(scores, params.evaluate.hue_tolerance),
        truths={space: COLORFULNESS.show(s.truth.get("colorfulness")) for space, s in
                scores.items()},
        findings={space: findings_by_heading(result, params) for space, result in results.items()},
        classes={space: class_table(result.per_class) for space, result in results.items()},
        parameters=parameter_table(params, list(results)),
        shared_parameters={
            name: value
            for section in SHARED_SECTIONS
            for name, value in flat(getattr(params, section), f"{section}.").items()
        },
        absent=findings.absent_measures(scores, params.evaluate),
        images={name: data_url(png) for name, png in images.items()},
    )  # fmt: skip


def findings_by_heading(result: Results, params: Params) -> dict[str, list[str]]:
    """Return the sentences about one space, by heading."""
    scores, evaluate = result.scores, params.evaluate
    return {
        "Against the gray picture": findings.against_gray(result),
        "Colour bias": findings.color_bias(scores),
        "Amount of colour": findings.colorfulness(scores),
        "Hues": [
            *findings.right_hues(scores, evaluate.hue_tolerance),
            *findings.hue_balance(result.hues, evaluate.chromatic),
        ],
        "Classes": findings.classes(result.per_class),
    }


def metrics_table(scores: Mapping[str, Scores], tolerance: float) -> dict[str, Any]:
    """Return the heads and rows of the metrics table: generated and gray of each space."""
    hue = replace(HUE_SHARE, label=f"hue within {tolerance:g}°")
    measures = [PSNR, SSIM, CIEDE2000, COLORFULNESS, COLORFULNESS_GAP, hue]
    measures += [
        measure
        for measure in (FRECHET_LITE2, FID, LPIPS)
        if any(measure.key in score.generated for score in scores.values())
    ]
    rows = []
    for space, score in scores.items():
        for kind, values in (("generated", score.generated), ("gray", score.gray)):
            other = score.gray if kind == "generated" else {}
            cells = [_cell(measure, values, other) for measure in measures]
            cells += [_shift(axis.name, values) for axis in findings.AXES]
            rows.append({"name": f"{title(space)} {kind}", "kind": kind, "cells": cells})
    heads = [(_head(measure), _direction(measure)) for measure in measures]
    heads += [
        (f"Shift along {axis.name}", f"{MINUS} {axis.negative}, + {axis.positive}")
        for axis in findings.AXES
    ]
    return {"heads": heads, "rows": rows}


def _head(measure: Measure) -> str:
    unit = f" ({measure.unit.strip()})" if measure.unit else ""
    return capital(measure.label) + unit


def _cell(measure: Measure, values: Numbers, gray: Numbers) -> Cell:
    value = values.get(measure.key)
    # Any colour at all beats gray, which has none, in the share of right hues.
    compared = gray if measure.key != HUE_SHARE.key else {}
    better = measure.better(value, compared.get(measure.key))
    mark = {True: "better", False: "worse", None: ""}[better]
    return Cell(EN_DASH if value is None else measure.bare(value), mark=mark)


def _shift(axis: str, values: Numbers) -> Cell:
    middle, low, high = (values.get(f"shift_{axis}{end}") for end in ("", "_low", "_high"))
    if middle is None:
        return Cell(EN_DASH)
    if low is None or high is None:
        return Cell(number(middle, 1))
    return Cell(number(middle, 1), interval=f"{number(low, 1)} to {number(high, 1)}")


def _direction(measure: Measure) -> str:
    return {True: "higher is better", False: "lower is better", None: ""}[measure.higher_is_better]


def class_table(per_class: pd.DataFrame) -> dict[str, Any]:
    """Return the heads and rows of one space's table of classes, in the order of the labels."""
    measures = [measure for measure in CLASS_COLUMNS if measure.key in per_class]
    rows = [
        {
            "label": readable(record["label"]) or "(no label)",
            "n": int(record["n"]),
            "few": record["n"] < findings.FEW_IN_CLASS,
            "cells": [
                _cell(measure, {measure.key: present(record[measure.key])}, {}).text
                for measure in measures
            ],
        }
        for record in per_class.sort_values("label").to_dict("records")
    ]
    return {"heads": [_head(measure) for measure in measures], "rows": rows}


def parameter_table(params: Params, spaces: list[str]) -> list[dict[str, Any]]:
    """Return a row a parameter: its name, its value for each space, and whether they differ."""
    columns = [flat(params.space(space)) for space in spaces]
    return [
        {
            "name": name,
            "values": [_value(column[name]) for column in columns],
            "differ": len({column[name] for column in columns}) > 1,
        }
        for name in columns[0]
    ]


def _value(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def data_url(png: bytes) -> str:
    """Return a PNG as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
