"""How many answers took how long, over the run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Drawing
from reports.charts.style import ACCENT, chart_of, fitted, limit_line, styled
from reports.model import LatencyHeatMap, Report


def answers_over_time(report: Report) -> Drawing | None:
    """None where nothing was answered."""
    heat = report.heat_map
    if heat is None:
        return None
    cells = list(_cells(heat))
    most = max(cell["answers"] for cell in cells)
    times = formatting.metric(report.times)
    limit = report.curve.limit if report.curve.metric == report.times else None
    opacity = alt.Scale(type="sqrt", domain=[0, most], range=[0.08, 1])
    legend = alt.Legend(title="answers", symbolType="square", symbolFillColor=ACCENT, format=",d", tickCount=4)
    x = alt.X("from:Q", title="seconds from the start of the run", scale=alt.Scale(zero=False, nice=False))
    y = alt.Y("low:Q", title=f"{times}, ms", **fitted(heat.edges_ms, 1))
    marks = (
        chart_of(cells)
        .mark_rect(color=ACCENT)
        .encode(
            x=x,
            x2="to:Q",
            y=y,
            y2="high:Q",
            opacity=alt.Opacity("answers:Q", scale=opacity, legend=legend),
            tooltip=[
                alt.Tooltip("when:N", title="seconds"),
                alt.Tooltip("took:N", title="ms"),
                alt.Tooltip("answers:Q", format=",d"),
            ],
        )
    )
    line = [] if limit is None else limit_line(limit.value, f"SLO on {report.curve.percentile} of {times}")
    return Drawing(
        key="heat",
        title="How many answers took how long, and when",
        alternative=_alternative(heat, times),
        spec=styled([marks, *line], "heat"),
        columns=("from, s", *map(_range, pairwise(heat.edges_ms))),
        rows=tuple(
            (formatting.plain(at), *(formatting.count(row[column]) for row in heat.counts))
            for column, at in enumerate(heat.from_s)
        ),
        note=f"Every answer of the run, by its start in steps of {formatting.plain(heat.bin_s)} s; what failed is not "
        "there.",
    )


def _cells(heat: LatencyHeatMap) -> list[dict[str, Any]]:
    """Those that are not empty."""
    return [
        {"from": at, "to": round(at + heat.bin_s, 3), "low": low, "high": high, "answers": row[column]}
        | {"when": f"{formatting.plain(at)}–{formatting.plain(at + heat.bin_s)}", "took": _range((low, high))}
        for (low, high), row in zip(pairwise(heat.edges_ms), heat.counts, strict=True)
        for column, at in enumerate(heat.from_s)
        if row[column]
    ]


def _range(edges: tuple[float, float]) -> str:
    low, high = map(formatting.number, edges)
    return f"{low}–{high} ms"


def _alternative(heat: LatencyHeatMap, times: str) -> str:
    totals = [sum(row) for row in heat.counts]
    common = _range(list(pairwise(heat.edges_ms))[totals.index(max(totals))])
    answers, most = formatting.count(sum(totals)), formatting.count(max(totals))
    slowest = _range((heat.edges_ms[-2], heat.edges_ms[-1]))
    return f"{answers} answers by {times}: the most, {most}, took {common}; the slowest {slowest}."
