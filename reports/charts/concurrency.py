"""Charts of latency and throughput by concurrency, for closed-loop stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import build_knee_rules, build_layer, build_point_scales, build_spec, fit_scale
from reports.model import Quantity, Report, StageRow

_QuantityGetter = Callable[[StageRow], Quantity | None]


def build_concurrency_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of latency and throughput by concurrency; empty with fewer than two distinct
    concurrencies."""
    rows = [row for row in report.stages if row.kind == "closed" and row.clients is not None and not row.pooled]
    if len({row.clients for row in rows}) < 2:
        return ()
    rows.sort(key=lambda row: (row.clients or 0, row.repeat))
    metric_text = formatting.format_metric_label(report.times)
    latency_getters = {"p50": lambda row: row.p50, "p95": lambda row: row.p95, "p99": lambda row: row.p99}
    charts = (
        _build_chart(
            report,
            rows,
            latency_getters,
            "clients-time",
            f"{metric_text} (ms)",
            f"{metric_text[:1].upper()}{metric_text[1:]} by concurrency",
        ),
        _build_chart(
            report,
            rows,
            {"throughput": lambda row: row.throughput},
            "clients-rate",
            "Throughput (successful req/s)",
            "Throughput by concurrency",
        ),
    )
    return tuple(chart for chart in charts if chart is not None)


def _build_chart(
    report: Report, rows: list[StageRow], getters: dict[str, _QuantityGetter], key: str, y_title: str, title: str
) -> Chart | None:
    points = _build_points(rows, getters)
    if not points:
        return None
    series_names = [name for name in getters if any(point["series"] == name for point in points)]
    axis = alt.Axis(values=sorted({point["clients"] for point in points}))
    x = alt.X("clients:Q", title="Concurrency", axis=axis, scale=alt.Scale(type="log", base=2, nice=False, padding=12))
    y = alt.Y("value:Q", title=y_title, **fit_scale([point["value"] for point in points], 20))
    tooltip = [
        alt.Tooltip("series:N"),
        alt.Tooltip("clients:Q", title="Concurrency"),
        alt.Tooltip("shown:N", title="Value"),
    ]
    lines = build_layer(points).mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
    scales = build_point_scales(series_names)
    return Chart(
        key=key,
        title=title,
        alternative=_describe_points(points, series_names),
        spec=build_spec(
            [*build_knee_rules(report, "clients", x), lines.encode(x=x, y=y, tooltip=tooltip, **scales)],
            key.replace("-", "_"),
        ),
        columns=("concurrency", "stage", *getters),
        rows=tuple((formatting.format_count(row.clients or 0), row.name, *_format_cells(row, getters)) for row in rows),
    )


def _build_points(rows: list[StageRow], getters: dict[str, _QuantityGetter]) -> list[dict[str, Any]]:
    return [
        {"series": name, "clients": row.clients, "value": quantity.value, "shown": formatting.format_quantity(quantity)}
        for name, get_quantity in getters.items()
        for row in rows
        if (quantity := get_quantity(row)) is not None and quantity.value is not None
    ]


def _format_cells(row: StageRow, getters: dict[str, _QuantityGetter]) -> tuple[str, ...]:
    quantities = [get_quantity(row) for get_quantity in getters.values()]
    return tuple(
        formatting.NOT_AVAILABLE if quantity is None else formatting.format_quantity(quantity)
        for quantity in quantities
    )


def _describe_points(points: list[dict[str, Any]], series_names: list[str]) -> str:
    descriptions = []
    for name in series_names:
        series_points = [point for point in points if point["series"] == name]
        descriptions.append(
            f"{name} changes from {series_points[0]['shown']} at concurrency {series_points[0]['clients']} "
            f"to {series_points[-1]['shown']} at {series_points[-1]['clients']}"
        )
    return "; ".join(descriptions) + "."
