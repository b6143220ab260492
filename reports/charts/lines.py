"""Draw the figure of a section as a chart of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports.charts.picture import Chart
from reports.charts.style import (
    build_layer,
    build_series_scales,
    build_spec,
    build_vertical_limit_line,
    fit_scale,
)
from reports.sections.figure import FigureAxis, LineFigure

_MAX_LINEAR_RATIO = 20.0


def build_line_chart(key: str, figure: LineFigure) -> Chart:
    points: list[dict[str, Any]] = [
        {"series": line.name, "x": x, "y": y} for line in figure.lines for x, y in zip(line.x, line.y, strict=True)
    ]
    x_values = [point["x"] for point in points] + ([] if figure.limit is None else [figure.limit])
    x_options, y_options = _fit_axis(figure.x, x_values), _fit_axis(figure.y, [point["y"] for point in points])
    tooltip = [
        alt.Tooltip("series:N", title=figure.series_label),
        alt.Tooltip("x:Q", title=figure.x.text, format=",.3~r"),
        alt.Tooltip("y:Q", title=figure.y.text, format=",.4~r"),
    ]
    lines = (
        build_layer(points)
        .mark_line(interpolate="step-after" if figure.is_stepped else "linear", strokeWidth=1.7)
        .encode(
            x=alt.X("x:Q", title=figure.x.text, **x_options),
            y=alt.Y("y:Q", title=figure.y.text, **y_options),
            tooltip=tooltip,
            **build_series_scales([line.name for line in figure.lines]),
        )
    )
    limit_lines = [] if figure.limit is None else build_vertical_limit_line(figure.limit, figure.limit_label)
    return Chart(
        key=key,
        title=figure.title,
        alternative=figure.alternative,
        spec=build_spec([lines, *limit_lines], key),
        columns=figure.columns,
        rows=figure.rows,
        note=figure.note,
    )


def _fit_axis(axis: FigureAxis, values: Sequence[float]) -> dict[str, Any]:
    if axis.bounds is None:
        return fit_scale(values, _MAX_LINEAR_RATIO)
    return {"scale": alt.Scale(domain=list(axis.bounds))}
