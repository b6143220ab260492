"""Heat map of response latency over the run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, build_layer, build_limit_line, build_spec, fit_scale
from reports.model import LatencyHeatMap, Report


def build_heat_map_chart(report: Report) -> Chart | None:
    """Build the heat map; `None` if there are no responses."""
    heat_map = report.heat_map
    if heat_map is None:
        return None
    cells = list(_build_cells(heat_map))
    max_count = max(cell["responses"] for cell in cells)
    metric_text = formatting.format_metric_label(report.times)
    limit = report.curve.limit if report.curve.metric == report.times else None
    opacity_scale = alt.Scale(type="sqrt", domain=[0, max_count], range=[0.08, 1])
    legend = alt.Legend(title="Responses", symbolType="square", symbolFillColor=ACCENT, format=",d", tickCount=4)
    x = alt.X("from:Q", title="Time since start (s)", scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("low:Q", title=f"{metric_text} (ms)", **fit_scale(heat_map.edges_ms, 1))
    marks = (
        build_layer(cells)
        .mark_rect(color=ACCENT)
        .encode(
            x=x,
            x2=alt.X2("to:Q"),
            y=y,
            y2=alt.Y2("high:Q"),
            opacity=alt.Opacity("responses:Q", scale=opacity_scale, legend=legend),
            tooltip=[
                alt.Tooltip("when:N", title="Time (s)"),
                alt.Tooltip("took:N", title="Latency"),
                alt.Tooltip("responses:Q", title="Responses", format=",d"),
            ],
        )
    )
    limit_lines = (
        []
        if limit is None
        else build_limit_line(
            limit.value, f"SLO {formatting.format_metric_label(report.times, report.curve.percentile)}"
        )
    )
    return Chart(
        key="heat",
        title="Latency heat map",
        alternative=_describe_heat_map(heat_map, metric_text),
        spec=build_spec([marks, *limit_lines], "heat"),
        columns=("from (s)", *map(_format_range, pairwise(heat_map.edges_ms))),
        rows=tuple(
            (formatting.format_plain(start_s), *(formatting.format_count(row[column]) for row in heat_map.counts))
            for column, start_s in enumerate(heat_map.from_s)
        ),
        note="All successful responses are counted by start time in bins of "
        f"{formatting.format_plain(heat_map.bin_s)} s.",
    )


def _build_cells(heat_map: LatencyHeatMap) -> list[dict[str, Any]]:
    """Return the non-empty cells of the heat map, one per time bin and latency range."""
    return [
        {"from": start_s, "to": round(start_s + heat_map.bin_s, 3), "low": low, "high": high, "responses": row[column]}
        | {
            "when": f"{formatting.format_plain(start_s)}–{formatting.format_plain(start_s + heat_map.bin_s)}",
            "took": _format_range((low, high)),
        }
        for (low, high), row in zip(pairwise(heat_map.edges_ms), heat_map.counts, strict=True)
        for column, start_s in enumerate(heat_map.from_s)
        if row[column]
    ]


def _format_range(bounds: tuple[float, float]) -> str:
    low, high = map(formatting.format_number, bounds)
    return f"{low}–{high} ms"


def _describe_heat_map(heat_map: LatencyHeatMap, metric_text: str) -> str:
    row_totals = [sum(row) for row in heat_map.counts]
    most_common_text = _format_range(list(pairwise(heat_map.edges_ms))[row_totals.index(max(row_totals))])
    total_text, max_count_text = formatting.format_count(sum(row_totals)), formatting.format_count(max(row_totals))
    slowest_text = _format_range((heat_map.edges_ms[-2], heat_map.edges_ms[-1]))
    return (
        f"{total_text} responses are shown by {metric_text}. The most common range is {most_common_text} "
        f"({max_count_text} responses); the slowest range is {slowest_text}."
    )
