"""Style of all charts.

Colors are CSS custom properties of the page, so that one SVG is suitable for light and dark themes
and for print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Literal

import altair as alt
from altair.utils import schemapi

from reports.sections.figure import MAX_SERIES

schemapi.disable_debug_mode()  # Altair would validate every part of a chart; tests validate the charts instead

WIDTH, HEIGHT = 520, 280
INK, MUTED, GRID, PAPER = "var(--ink)", "var(--muted)", "var(--grid)", "var(--paper)"
LIMIT, ACCENT = "var(--bad)", "var(--series-1)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, MAX_SERIES + 1))
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_MAX_LABEL_PX = 300
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
"""Fonts of the charts. The renderer measures texts with its own Liberation Sans; Arial and
Helvetica have the same widths."""


class _Layer(alt.Chart):
    """Chart layer whose copies share its data, mark and encoding. Altair copies each layer several
    times to combine layers, and then only sets attributes of the copies."""

    def __deepcopy__(self, _: Any) -> _Layer:
        return self.copy(deep=False)


def build_layer(values: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """Build a chart layer from inline data, with one record per mark."""
    return _Layer(alt.InlineData(values=[dict(value) for value in values]))


def build_spec(layers: list[alt.Chart], name: str) -> dict[str, Any]:
    """Combine layers into one Vega-Lite specification that is as wide as its container. `name`
    overrides the view name that Altair generates from a counter, so that the output for the
    same report is byte-identical.
    """
    chart = alt.layer(*layers, name=name, width="container", height=HEIGHT)  # `properties` would copy all layers
    # Validation takes half the time of a report; tests validate the charts instead.
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec["config"] = _CONFIG
    spec["autosize"] = {"type": "fit", "contains": "padding"}
    return spec


def build_series_scales(names: list[str]) -> dict[str, Any]:
    """Return color and dash scales for lines. Both are keyed by the field `series`, in a common
    legend."""
    legend = alt.Legend(title=None, symbolSize=320, columns=_count_legend_columns(names))
    count = len(names)
    return {
        "color": alt.Color("series:N", legend=legend, scale=alt.Scale(domain=names, range=list(SERIES[:count]))),
        "strokeDash": alt.StrokeDash("series:N", legend=legend, scale=alt.Scale(domain=names, range=DASHES[:count])),
    }


def build_bar_scale(names: list[str], rest: str) -> alt.Color:
    """Return the color scale of bars, keyed by the field `series`. The series `rest` has a muted color."""
    legend = alt.Legend(title=None, columns=_count_legend_columns(names))
    colors = [GRID if name == rest else color for name, color in zip(names, cycle(SERIES), strict=False)]
    return alt.Color("series:N", legend=legend, scale=alt.Scale(domain=names, range=colors))


def build_point_scales(names: list[str], *, all_names: list[str] | None = None) -> dict[str, Any]:
    """Return color and shape scales for connected points. Both are keyed by the field `series`, in
    a common legend.

    If `all_names` is given (at most `MAX_SERIES` names), each series has the same style as in a
    chart of all these series.
    """
    legend = alt.Legend(title=None, columns=_count_legend_columns(names))
    indices = [(all_names or names).index(name) for name in names]
    colors, shapes = [SERIES[index] for index in indices], [SHAPES[index] for index in indices]
    return {
        "color": alt.Color("series:N", legend=legend, scale=alt.Scale(domain=names, range=colors)),
        "shape": alt.Shape("series:N", legend=legend, scale=alt.Scale(domain=names, range=shapes)),
    }


def build_role_marks(
    points: list[dict[str, Any]], roles: Mapping[str, tuple[str, str]], x: alt.X, y: alt.Y, tooltip: list[alt.Tooltip]
) -> alt.Chart:
    """Draw one mark per point. The field `role` selects color and shape, and the field `fill`
    contains the fill color.

    `roles` maps each role to a color and a shape, most important role first. Marks of more
    important roles are drawn on top.
    """
    shown_roles = [role for role in roles if any(point["role"] == role for point in points)]
    colors, shapes = (list(column) for column in zip(*(roles[role] for role in shown_roles), strict=True))
    legend = alt.Legend(title=None, symbolFillColor="transparent")
    sorted_points = sorted(points, key=lambda point: -shown_roles.index(point["role"]))
    chart: alt.Chart = (
        build_layer(sorted_points)
        .mark_point(size=75, strokeWidth=2, opacity=1)
        .encode(
            x=x,
            y=y,
            fill=alt.Fill("fill:N", scale=None, legend=None),
            stroke=alt.Stroke("role:N", legend=legend, scale=alt.Scale(domain=shown_roles, range=colors)),
            shape=alt.Shape("role:N", legend=legend, scale=alt.Scale(domain=shown_roles, range=shapes)),
            tooltip=tooltip,
        )
    )
    return chart


def build_front_line(front: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Draw the Pareto front as a dashed, stepped line through its points, if any."""
    data = build_layer(front)
    line = data.mark_line(interpolate="step-after", color=SERIES[2], strokeWidth=1.5, strokeDash=[4, 3])
    return [line.encode(x=x, y=y)] if front else []


def _count_legend_columns(names: list[str]) -> int:
    """Return the number of legend columns that fit in the width of the chart. A wider legend would
    leave too little room for the chart."""
    entry_width_px = min(_MAX_LABEL_PX, max(map(len, names)) * 6.5) + 30
    return max(1, min(len(names), int((WIDTH - 100) // entry_width_px)))


def build_halo_texts(data: alt.Chart, color: str, options: Mapping[str, Any], **encoding: Any) -> list[alt.Chart]:
    """Draw the field `text` with a halo, which keeps it readable where a line crosses it. `options` are
    those of the text mark."""
    styles: tuple[dict[str, Any], ...] = ({"color": PAPER, "stroke": PAPER, "strokeWidth": 4}, {"color": color})
    return [data.mark_text(**options, **style).encode(text=alt.Text("text:N"), **encoding) for style in styles]


def build_limit_line(value: float, text: str, axis: Literal["x", "y"] = "y") -> list[alt.Chart]:
    """Draw a line at the limit of an objective on an axis, with its label at the left end or, if it is
    vertical, at the bottom."""
    data = build_layer([{"limit": value, "text": text}])
    place, options, end = (
        ({"y": alt.Y("limit:Q")}, {"align": "left", "dx": 4, "dy": -3}, {"x": alt.XValue(0)})
        if axis == "y"
        else ({"x": alt.X("limit:Q")}, {"align": "right", "dx": -5, "dy": -4}, {"y": alt.YValue("height")})
    )
    rule = data.mark_rule(color=LIMIT, strokeDash=[6, 4], strokeWidth=1.5).encode(**place)
    return [rule, *build_halo_texts(data, LIMIT, {**options, "baseline": "bottom", "fontWeight": 600}, **place, **end)]


def build_zoom_parameter(name: str) -> alt.Parameter:
    """Build a pan-and-zoom selection for the x axis: drag to pan, and Shift + wheel to zoom. The
    wheel alone still scrolls the page."""
    return alt.selection_interval(name=name, bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]")


def fit_scale(values: Sequence[float], ratio: float, *, from_zero: bool = True) -> dict[str, Any]:
    """Return the scale and axis that fit all values.

    The scale is logarithmic, with ticks such as 1, 2, 5, if the ratio of the highest to the lowest
    value exceeds `ratio`. Otherwise, the scale is linear and starts at zero unless `from_zero` is
    false.
    """
    if not _is_log_scale(values, ratio):
        if from_zero and max(values) > 0:
            return {"scale": alt.Scale(domain=[0, 1.06 * max(values)])}
        return {"scale": alt.Scale(zero=False, padding=10)}
    ticks = _build_log_ticks(min(values), max(values))
    return {
        "scale": alt.Scale(type="log", nice=False, padding=12),
        "axis": alt.Axis(values=ticks, format=",~g"),
    }


def find_position(value: float, values: Sequence[float], ratio: float, *, from_zero: bool = True) -> float:
    """Return the approximate position of a value on the axis that `fit_scale` fits to the values,
    from 0 to 1."""
    low, high = min(values), max(values)
    if _is_log_scale(values, ratio):
        return math.log(value / low) / math.log(high / low)
    low = 0.0 if from_zero else low
    return (value - low) / ((high - low) or 1.0)


def _is_log_scale(values: Sequence[float], ratio: float) -> bool:
    return min(values) > 0 and max(values) / min(values) > ratio


def _build_log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 3, 5, 7) if high / low < 30 else (1, 2, 5) if high / low < 1000 else (1,)
    return [step * 10.0**decade for decade in decades for step in steps]


_MIN_TICK_LABELS_PX = 38
"""Room for the tick labels of a y axis. Vega reserves room before it knows which labels overlap, so
that "1,000" would push the title of the axis out of the picture."""
_AXIS: dict[str, Any] = {
    "labelColor": INK,
    "titleColor": MUTED,
    "gridColor": GRID,
    "domainColor": GRID,
    "tickColor": GRID,
    "labelFontSize": 11,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
    "labelOverlap": True,
    "tickCount": 6,
}
_CONFIG: dict[str, Any] = {
    "aria": False,
    "background": None,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": _AXIS,
    "axisX": {"grid": False},
    "axisY": {"minExtent": _MIN_TICK_LABELS_PX},
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "columns": 0,
        "labelColor": INK,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "symbolSize": 70,
        "symbolStrokeWidth": 2,
        "labelLimit": _MAX_LABEL_PX,
    },
    "line": {"strokeWidth": 2},
    "text": {"color": INK, "fontSize": 11},
}


def build_markers(markers: Sequence[tuple[float, str]], x: alt.X) -> list[alt.Chart]:
    """Draw labeled vertical lines at values of the x axis, whose field is that of `x`."""
    layers: list[alt.Chart] = []
    for index, (value, text) in enumerate(markers):
        data = build_layer([{x.shorthand.partition(":")[0]: value, "text": text}])
        layers.append(data.mark_rule(color=MUTED, strokeDash=[2, 3]).encode(x=x))
        label = data.mark_text(align="left", baseline="top", dx=4, color=MUTED)
        layers.append(label.encode(x=x, y=alt.YValue(16 + 13 * index), text=alt.Text("text:N")))
    return layers
