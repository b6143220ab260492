"""Charts of latency and throughput by concurrency, for closed-loop stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import build_spec, fit_scale, knee_rules, new_chart, point_scales
from reports.model import Quantity, Report, StageRow

_Cell = Callable[[StageRow], Quantity | None]


def concurrency_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of latency and throughput by concurrency; empty with fewer than two
    different concurrencies."""
    rows = [row for row in report.stages if row.kind == "closed" and row.clients is not None]
    if len({row.clients for row in rows}) < 2:
        return ()
    rows.sort(key=lambda row: (row.clients or 0, row.repeat))
    name = formatting.metric_name(report.times)
    times = {"p50": lambda row: row.p50, "p95": lambda row: row.p95, "p99": lambda row: row.p99}
    charts = (
        _chart(report, rows, times, "clients-time", f"{name}, ms", f"{name[:1].upper()}{name[1:]} by concurrency"),
        _chart(
            report,
            rows,
            {"throughput": lambda row: row.responses},
            "clients-rate",
            "successful req/s",
            "Throughput by concurrency",
        ),
    )
    return tuple(chart for chart in charts if chart is not None)


def _chart(
    report: Report, rows: list[StageRow], cells: dict[str, _Cell], key: str, y_title: str, title: str
) -> Chart | None:
    points = _points(rows, cells)
    if not points:
        return None
    names = [name for name in cells if any(point["series"] == name for point in points)]
    axis = alt.Axis(values=sorted({point["clients"] for point in points}))
    x = alt.X("clients:Q", title="concurrency", axis=axis, scale=alt.Scale(type="log", base=2, nice=False, padding=12))
    y = alt.Y("value:Q", title=y_title, **fit_scale([point["value"] for point in points], 20))
    tooltip = [
        alt.Tooltip("series:N"),
        alt.Tooltip("clients:Q", title="concurrency"),
        alt.Tooltip("shown:N", title="value"),
    ]
    lines = new_chart(points).mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
    scales = point_scales(names)
    return Chart(
        key=key,
        title=title,
        alternative=_alternative(points, names),
        spec=build_spec(
            [*knee_rules(report, "clients", x), lines.encode(x=x, y=y, tooltip=tooltip, **scales)],
            key.replace("-", "_"),
        ),
        columns=("concurrency", "stage", *cells),
        rows=tuple((formatting.format_count(row.clients or 0), row.name, *_shown(row, cells)) for row in rows),
    )


def _points(rows: list[StageRow], cells: dict[str, _Cell]) -> list[dict[str, Any]]:
    return [
        {"series": name, "clients": row.clients, "value": quantity.value, "shown": formatting.format_quantity(quantity)}
        for name, cell in cells.items()
        for row in rows
        if (quantity := cell(row)) is not None and quantity.value is not None
    ]


def _shown(row: StageRow, cells: dict[str, _Cell]) -> tuple[str, ...]:
    quantities = [cell(row) for cell in cells.values()]
    return tuple(
        formatting.NOT_AVAILABLE if quantity is None else formatting.format_quantity(quantity)
        for quantity in quantities
    )


def _alternative(points: list[dict[str, Any]], names: list[str]) -> str:
    sentences = []
    for name in names:
        series = [point for point in points if point["series"] == name]
        sentences.append(
            f"{name} from {series[0]['shown']} at concurrency {series[0]['clients']} to {series[-1]['shown']} at "
            f"{series[-1]['clients']}"
        )
    return "; ".join(sentences) + "."
