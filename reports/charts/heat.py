"""Heat map of response latency over the run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import ACCENT, build_spec, fit_scale, limit_line, new_chart
from reports.model import LatencyHeatMap, Report


def latency_heat_map(report: Report) -> Chart | None:
    """Build the heat map; `None` if there are no responses."""
    heat = report.heat_map
    if heat is None:
        return None
    cells = list(_cells(heat))
    max_count = max(cell["responses"] for cell in cells)
    times = formatting.metric_name(report.times)
    limit = report.curve.limit if report.curve.metric == report.times else None
    opacity = alt.Scale(type="sqrt", domain=[0, max_count], range=[0.08, 1])
    legend = alt.Legend(title="responses", symbolType="square", symbolFillColor=ACCENT, format=",d", tickCount=4)
    x = alt.X("from:Q", title="time since start, s", scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("low:Q", title=f"{times}, ms", **fit_scale(heat.edges_ms, 1))
    marks = (
        new_chart(cells)
        .mark_rect(color=ACCENT)
        .encode(
            x=x,
            x2=alt.X2("to:Q"),
            y=y,
            y2=alt.Y2("high:Q"),
            opacity=alt.Opacity("responses:Q", scale=opacity, legend=legend),
            tooltip=[
                alt.Tooltip("when:N", title="time, s"),
                alt.Tooltip("took:N", title="ms"),
                alt.Tooltip("responses:Q", title="responses", format=",d"),
            ],
        )
    )
    line = (
        []
        if limit is None
        else limit_line(limit.value, f"SLO {formatting.metric_name(report.times, report.curve.percentile)}")
    )
    return Chart(
        key="heat",
        title="Latency heat map",
        alternative=_alternative(heat, times),
        spec=build_spec([marks, *line], "heat"),
        columns=("from, s", *map(_range, pairwise(heat.edges_ms))),
        rows=tuple(
            (formatting.format_plain(at), *(formatting.format_count(row[column]) for row in heat.counts))
            for column, at in enumerate(heat.from_s)
        ),
        note=f"All successful responses, by start time in bins of {formatting.format_plain(heat.bin_s)} s.",
    )


def _cells(heat: LatencyHeatMap) -> list[dict[str, Any]]:
    """Return the non-empty cells of the heat map."""
    return [
        {"from": at, "to": round(at + heat.bin_s, 3), "low": low, "high": high, "responses": row[column]}
        | {
            "when": f"{formatting.format_plain(at)}–{formatting.format_plain(at + heat.bin_s)}",
            "took": _range((low, high)),
        }
        for (low, high), row in zip(pairwise(heat.edges_ms), heat.counts, strict=True)
        for column, at in enumerate(heat.from_s)
        if row[column]
    ]


def _range(edges: tuple[float, float]) -> str:
    low, high = map(formatting.format_number, edges)
    return f"{low}–{high} ms"


def _alternative(heat: LatencyHeatMap, times: str) -> str:
    totals = [sum(row) for row in heat.counts]
    common = _range(list(pairwise(heat.edges_ms))[totals.index(max(totals))])
    total, max_count = formatting.format_count(sum(totals)), formatting.format_count(max(totals))
    slowest = _range((heat.edges_ms[-2], heat.edges_ms[-1]))
    return f"{total} responses by {times}. Most common: {common} ({max_count} responses); slowest: {slowest}."
