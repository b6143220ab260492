"""Chart of where the latency was spent: a stacked bar for the mean, p50, p95 and p99."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import GRID, SERIES, build_layer, build_spec
from reports.model import BreakdownRow, Report

_UNKNOWN = "unknown"


def build_breakdown_chart(report: Report) -> Chart | None:
    """Build the chart of the latency breakdown; None without one, or if no part but the unknown
    rest is known."""
    section = report.breakdown
    if section is None:
        return None
    part_names = [
        part.name
        for index, part in enumerate(section.rows[0].parts)
        if any(row.parts[index].quantity.value for row in section.rows)
    ]
    if not part_names:
        return None
    names = [*part_names, _UNKNOWN]
    points: list[dict[str, Any]] = [
        {"aggregate": row.aggregate, "part": name, "order": names.index(name), "value": value, "shown": shown}
        for row in section.rows
        for name, value, shown in _list_bars(row)
        if name in names and value > 0
    ]
    bars = (
        build_layer(points)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="Latency (ms)", stack="zero"),
            y=alt.Y("aggregate:N", title=None, sort=None),  # Vega-Lite would write a list of names into an expression
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=names, range=[*SERIES[: len(part_names)], GRID]),
                legend=alt.Legend(orient="top", columns=4),
            ),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("aggregate:N", title="of"),
                alt.Tooltip("part:N"),
                alt.Tooltip("shown:N", title="time"),
            ],
        )
    )
    return Chart(
        key="breakdown",
        title=f"Latency breakdown in {section.stage}",
        alternative=section.sentence,
        spec=build_spec([bars], "breakdown"),
        columns=("requests", *names, "latency"),
        rows=tuple(
            (
                row.aggregate,
                *(formatting.format_value_unit(part.quantity) for part in row.parts if part.name in part_names),
                formatting.format_value_unit(row.unknown),
                formatting.format_value_unit(row.latency),
            )
            for row in section.rows
        ),
        note=section.note,
    )


def _list_bars(row: BreakdownRow) -> list[tuple[str, float, str]]:
    quantities = [*((part.name, part.quantity) for part in row.parts), (_UNKNOWN, row.unknown)]
    return [(name, quantity.value or 0.0, formatting.format_value_unit(quantity)) for name, quantity in quantities]
