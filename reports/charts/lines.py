"""Draw the figure of a section as a chart of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports.charts.picture import Chart
from reports.charts.style import (
    build_layer,
    build_limit_line,
    build_point_scales,
    build_series_scales,
    build_spec,
    build_vertical_limit_line,
    fit_scale,
)
from reports.sections.figure import FigureAxis, LineFigure

_MAX_LINEAR_RATIO = 20.0
_TICK_NAMES = {2: "p50", 4: "p75", 10: "p90", 20: "p95", 100: "p99", 1000: "p99.9", 10000: "p99.99"}
_TICK_LABEL_EXPRESSION = (
    " : ".join(f"datum.value == {inverse_tail} ? '{name}'" for inverse_tail, name in _TICK_NAMES.items()) + " : ''"
)


def build_line_chart(key: str, figure: LineFigure) -> Chart:
    """Draw a figure. `key` identifies the chart on the page."""
    points: list[dict[str, Any]] = [
        {"series": line.name, "x": x, "y": y} | ({"one_in": 1 / (1 - x / 100)} if figure.x.is_percentile else {})
        for line in figure.lines
        for x, y in zip(line.x, line.y, strict=True)
    ]
    limits = {} if figure.limit is None else {figure.limit_axis: [figure.limit]}
    x_options = _fit_axis(figure.x, [point["x"] for point in points] + limits.get("x", []))
    y_options = _fit_axis(figure.y, [point["y"] for point in points] + limits.get("y", []))
    x = alt.X("x:Q", title=figure.x.text, **x_options)
    if figure.x.is_percentile:
        x = _build_percentile_axis(figure.x, max(point["one_in"] for point in points))
    tooltip = [
        alt.Tooltip("series:N", title=figure.series_label),
        alt.Tooltip("x:Q", title=figure.x.text, format=",.5~r" if figure.x.is_percentile else ",.3~r"),
        alt.Tooltip("y:Q", title=figure.y.text, format=",.4~r"),
    ]
    names = [line.name for line in figure.lines]
    marks = (
        build_layer(points).mark_line(point=alt.OverlayMarkDef(size=22))
        if figure.has_points
        else build_layer(points).mark_line(interpolate="step-after" if figure.is_stepped else "linear", strokeWidth=1.7)
    )
    lines = marks.encode(
        x=x,
        y=alt.Y("y:Q", title=figure.y.text, **y_options),
        tooltip=tooltip,
        **(build_point_scales(names) if figure.has_points else build_series_scales(names)),
    )
    build_limit = build_limit_line if figure.limit_axis == "y" else build_vertical_limit_line
    limit_lines = [] if figure.limit is None else build_limit(figure.limit, figure.limit_label)
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


def _build_percentile_axis(axis: FigureAxis, max_inverse_tail: float) -> alt.X:
    ticks = alt.Axis(
        values=[inverse_tail for inverse_tail in _TICK_NAMES if inverse_tail <= max_inverse_tail],
        labelExpr=_TICK_LABEL_EXPRESSION,
        grid=True,
    )
    return alt.X("one_in:Q", title=axis.text, axis=ticks, scale=alt.Scale(type="log", nice=False))
