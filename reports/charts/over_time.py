"""Draw the lines of a figure over the run, with its stages and their steady states."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports.charts.style import (
    ACCENT,
    INK,
    MUTED,
    SERIES,
    build_layer,
    build_limit_line,
    build_series_scales,
    build_zoom_parameter,
)
from reports.sections.figure import TimelineFigure

_KIND_COLORS = {
    "warmup": MUTED,
    "probe": SERIES[1],
    "step": ACCENT,
    "steady": ACCENT,
    "closed": SERIES[2],
    "varying": SERIES[3],
    "spike": SERIES[5],
    "batch": SERIES[2],
}


def build_timeline_layers(figure: TimelineFigure, x: alt.X, y_options: dict[str, Any], key: str) -> list[alt.Chart]:
    """Build the layers of the chart with this key, whose axes are given. The names of lines are fields of
    the data, so that each bin is one record."""
    names = [line.name for line in figure.lines]
    all_lines = (*figure.lines, *figure.unplotted_lines)
    records: list[dict[str, Any]] = [
        {"x": time_s} | dict(zip([line.name for line in all_lines], values, strict=True))
        for time_s, *values in zip(figure.lines[0].x, *(line.y for line in all_lines), strict=True)
    ]
    lines = (
        build_layer(records)
        .transform_fold([*names], as_=["series", "value"])
        .mark_line(strokeWidth=1.7)
        .encode(x=x, y=alt.Y("value:Q", title=figure.y.text, **y_options), **build_series_scales(names))
        .add_params(build_zoom_parameter(f"{key}_zoom"))
    )
    tooltip = [alt.Tooltip("x:Q", title="Time (s)", format=",.4~r")]
    tooltip += [alt.Tooltip(f"{line.name}:Q", format=",.3~r") for line in all_lines]
    hover_layer = build_layer(records).mark_rule(color=INK, opacity=0, strokeWidth=6).encode(x=x, tooltip=tooltip)
    limit_lines = [] if figure.limit is None else build_limit_line(figure.limit, figure.limit_label)
    return [lines, *_build_steady_layer(figure), *limit_lines, *_build_stage_layer(figure), hover_layer]


def _build_stage_layer(figure: TimelineFigure) -> list[alt.Chart]:
    times_s = figure.lines[0].x
    start_s, end_s = times_s[0] - figure.bin_s / 2, times_s[-1] + figure.bin_s / 2
    bands = [
        {"from": max(start_s, band.start_s), "to": min(end_s, band.end_s), "kind": band.kind, "stage": band.stage}
        for band in figure.stages
        if band.end_s > start_s and band.start_s < end_s
    ]
    if not bands:
        return []
    shown_kinds = [kind for kind in _KIND_COLORS if any(band["kind"] == kind for band in bands)]
    scale = alt.Scale(domain=shown_kinds, range=[_KIND_COLORS[kind] for kind in shown_kinds])
    # A single row would not fit beside the legend of the lines.
    legend = alt.Legend(title=None, symbolType="square", columns=min(2, (len(shown_kinds) + 1) // 2))
    band_layer = (
        build_layer(bands)
        .mark_rect(opacity=0.85)
        .encode(
            x=alt.X("from:Q"),
            x2=alt.X2("to:Q"),
            y=alt.YValue(0),
            y2=alt.Y2Value(6),
            fill=alt.Fill("kind:N", scale=scale, legend=legend),
            tooltip=[alt.Tooltip("stage:N"), alt.Tooltip("kind:N")],
        )
    )
    return [band_layer]


def _build_steady_layer(figure: TimelineFigure) -> list[alt.Chart]:
    """Build the shading of the steady state of each stage."""
    windows = [{"from": band.start_s, "to": band.end_s, "stage": band.stage} for band in figure.steady_states]
    layer: alt.Chart = (
        build_layer(windows)
        .mark_rect(color=MUTED, opacity=0.14)
        .encode(x=alt.X("from:Q"), x2=alt.X2("to:Q"), tooltip=[alt.Tooltip("stage:N", title="steady state of")])
    )
    return [layer] if windows else []
