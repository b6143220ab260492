"""Draw the figure of a section as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from reports.charts.over_time import build_timeline_layers
from reports.charts.picture import Chart
from reports.charts.style import (
    ACCENT,
    INK,
    build_bar_scale,
    build_layer,
    build_limit_line,
    build_markers,
    build_point_scales,
    build_series_scales,
    build_spec,
    build_zoom_parameter,
    fit_scale,
)
from reports.formatting import format_plain
from reports.sections.figure import BarFigure, Figure, FigureAxis, HeatFigure, LineFigure, TimelineFigure

_TICK_NAMES = {2: "p50", 4: "p75", 10: "p90", 20: "p95", 100: "p99", 1000: "p99.9", 10000: "p99.99"}
_TICK_LABEL_EXPRESSION = (
    " : ".join(f"datum.value == {inverse_tail} ? '{name}'" for inverse_tail, name in _TICK_NAMES.items()) + " : ''"
)


def build_chart(key: str, figure: Figure) -> Chart:
    """Draw a figure. `key` identifies the chart on the page. Titles of tooltips are texts of the program,
    because Vega compiles them into an expression."""
    match figure:
        case LineFigure():
            layers = _build_line_layers(figure, key.replace("-", "_"))
        case BarFigure():
            layers = _build_bar_layers(figure)
        case HeatFigure():
            layers = _build_heat_layers(figure)
        case _:
            raise TypeError(f"No chart of a {type(figure).__name__}.")
    return Chart(
        key=key,
        title=figure.title,
        alternative=figure.alternative,
        spec=build_spec(layers, key.replace("-", "_")),
        columns=figure.columns,
        rows=figure.rows,
        note=figure.note,
    )


def _build_line_layers(figure: LineFigure, key: str) -> list[alt.Chart]:
    limits = {} if figure.limit is None else {figure.limit_axis: [figure.limit]}
    x_values = [x for line in figure.lines for x in line.x] + limits.get("x", [])
    y_values = [y for line in figure.lines for y in line.y if y is not None] + limits.get("y", [])
    x, y_options = alt.X("x:Q", title=figure.x.text, **_fit_axis(figure.x, x_values)), _fit_axis(figure.y, y_values)
    if isinstance(figure, TimelineFigure):
        return build_timeline_layers(figure, x, y_options, key)
    points: list[dict[str, Any]] = [
        {"series": line.name, "x": x, "y": y}
        | ({"one_in": 1 / (1 - x / 100)} if figure.x.is_percentile else {})
        | ({"text": line.texts[index]} if line.texts else {})
        for line in figure.lines
        for index, (x, y) in enumerate(zip(line.x, line.y, strict=True))
    ]
    if figure.x.is_percentile:
        x = _build_percentile_axis(figure.x, max(point["one_in"] for point in points))
    tooltip = [
        alt.Tooltip("series:N", title=figure.series_label),
        alt.Tooltip("x:Q", title=figure.x.text, format=",.5~r" if figure.x.is_percentile else ",.4~r"),
        alt.Tooltip("text:N", title="Value")
        if figure.lines[0].texts
        else alt.Tooltip("y:Q", title=figure.y.text, format=",.4~r"),
    ]
    names = [line.name for line in figure.lines]
    marks = (
        build_layer(points).mark_line(point=alt.OverlayMarkDef(size=22 if figure.x.is_percentile else 50))
        if figure.has_points
        else build_layer(points).mark_line(interpolate="step-after" if figure.is_stepped else "linear", strokeWidth=1.7)
    )
    lines = marks.encode(
        x=x,
        y=alt.Y("y:Q", title=figure.y.text, **y_options),
        tooltip=tooltip,
        **(build_point_scales(names) if figure.has_points else build_series_scales(names)),
    )
    if figure.x.scale == "time":
        lines = lines.add_params(build_zoom_parameter(f"{key}_zoom"))
    limit_lines = [] if figure.limit is None else build_limit_line(figure.limit, figure.limit_label, figure.limit_axis)
    return [*build_markers(figure.markers, x), lines, *limit_lines]


def _build_bar_layers(figure: BarFigure) -> list[alt.Chart]:
    """Build the bars and their intervals. Groups and bars keep the order of the data, because Vega would
    compile a list of names into an expression, and names may come from untrusted files."""
    names = list(dict.fromkeys(bar.series for bar in figure.bars))
    records: list[dict[str, Any]] = [
        {"group": bar.group, "series": bar.series, "order": names.index(bar.series), "value": bar.value}
        | {"text": bar.text}
        | dict(zip(("low", "high"), bar.interval or (), strict=False))
        for bar in figure.bars
    ]
    y: dict[str, Any] = {"y": alt.Y("group:N", title=None, sort=None)}
    x_options: dict[str, Any] = {}
    if not figure.is_stacked:
        y["yOffset"] = alt.YOffset("series:N", sort=None)
        ends = [record.get("high", record["value"]) for record in records]
        x_options = {"scale": alt.Scale(domain=[0, 1.05 * max(ends)], nice=True)}
    tooltip = [
        alt.Tooltip("group:N", title=figure.group_label),
        alt.Tooltip("series:N", title=figure.series_label),
        alt.Tooltip("text:N", title=figure.value.label),
    ]
    bars = (
        build_layer(records)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title=figure.value.text, **x_options),
            order=alt.Order("order:Q"),
            tooltip=tooltip,
            color=build_bar_scale(names, figure.rest),
            **y,
        )
    )
    intervals = (
        build_layer([record for record in records if "low" in record])
        .mark_rule(color=INK, strokeWidth=1.5)
        .encode(x=alt.X("low:Q"), x2="high:Q", **y)
    )
    return [bars] if figure.is_stacked else [bars, intervals]


def _build_heat_layers(figure: HeatFigure) -> list[alt.Chart]:
    cells: list[dict[str, Any]] = [
        {"from": start, "to": round(start + figure.width, 3), "low": low, "high": high, "count": row[column]}
        | {"columns": f"{format_plain(start)}–{format_plain(start + figure.width)}", "rows": range_text}
        for (low, high), range_text, row in zip(pairwise(figure.edges), figure.columns[1:], figure.counts, strict=True)
        for column, start in enumerate(figure.starts)
        if row[column]
    ]
    scale = alt.Scale(type="sqrt", domain=[0, max(cell["count"] for cell in cells)], range=[0.08, 1])
    legend = alt.Legend(title="Responses", symbolType="square", symbolFillColor=ACCENT, format=",d", tickCount=4)
    marks = (
        build_layer(cells)
        .mark_rect(color=ACCENT)
        .encode(
            x=alt.X("from:Q", title=figure.x.text, scale=alt.Scale(zero=False, nice=False)),
            x2=alt.X2("to:Q"),
            y=alt.Y("low:Q", title=figure.y.text, **fit_scale(figure.edges, 1)),
            y2=alt.Y2("high:Q"),
            opacity=alt.Opacity("count:Q", scale=scale, legend=legend),
            tooltip=[
                alt.Tooltip("columns:N", title=figure.x.text),
                alt.Tooltip("rows:N", title="Range"),
                alt.Tooltip("count:Q", title="Responses", format=",d"),
            ],
        )
    )
    return [marks, *([] if figure.limit is None else build_limit_line(figure.limit, figure.limit_label))]


def _fit_axis(axis: FigureAxis, values: Sequence[float]) -> dict[str, Any]:
    if axis.bounds is not None:
        return {"scale": alt.Scale(domain=list(axis.bounds))}
    if axis.scale == "auto":
        return fit_scale(values, axis.max_linear_ratio, from_zero=axis.is_from_zero)
    if axis.scale in ("time", "round"):
        return {"scale": alt.Scale(zero=False, nice=False) if axis.scale == "time" else alt.Scale(zero=True)}
    scale = {"scale": alt.Scale(type="log", base=2, nice=False, padding=12)} if axis.scale == "log2" else {}
    return {"axis": alt.Axis(values=sorted(set(values)))} | scale


def _build_percentile_axis(axis: FigureAxis, max_inverse_tail: float) -> alt.X:
    ticks = alt.Axis(
        values=[inverse_tail for inverse_tail in _TICK_NAMES if inverse_tail <= max_inverse_tail],
        labelExpr=_TICK_LABEL_EXPRESSION,
        grid=True,
    )
    return alt.X("one_in:Q", title=axis.text, axis=ticks, scale=alt.Scale(type="log", nice=False))
