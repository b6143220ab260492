"""Chart of the peak day of the recommended fleet by hour: request rate, latency and number of
instances."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting, plan_sentences
from reports.charts.picture import Chart
from reports.charts.style import INK, MUTED, build_layer, build_limit_line, build_series_scales, build_spec, fit_scale
from reports.plan_section import DaySeries, PlanSection
from reports.quantity import Quantity

_PERCENTILES = ("p50", "p95", "p99")


def build_peak_day_chart(plan: PlanSection | None) -> Chart | None:
    """Build the chart of the peak day; `None` if no day was simulated."""
    if plan is None or plan.day is None:
        return None
    return Chart(
        key="day",
        title="Peak day by hour",
        alternative=f"{plan_sentences.describe_peak_day(plan)}.",
        spec=build_spec(_build_layers(plan, plan.day), "day"),
        columns=(
            "hour",
            "request rate (req/s)",
            "instances",
            *(f"{name} latency (ms)" for name in _PERCENTILES),
            "responses within SLO",
            "cost ($)",
        ),
        rows=_build_rows(plan.day),
        note=f"{plan_sentences.describe_peak_day(plan)}. The gray area is the request rate (right axis). Each hour is "
        "simulated separately.",
    )


def _build_layers(plan: PlanSection, day: DaySeries) -> list[alt.Chart]:
    hours = [_build_hour_record(day, index) for index in range(len(day.hours))]
    scale = alt.Scale(domain=[0, 24], nice=False)
    x = alt.X("hour:Q", title="Hour of day", scale=scale, axis=alt.Axis(values=list(range(0, 25, 3)), format="d"))
    latencies = [hour_row[name] for hour_row in hours for name in _PERCENTILES if hour_row[name] is not None]
    limit_texts, latency_extent = plan_sentences.get_peak_day_limit(plan), latencies or [1.0]
    limit_lines = []
    if limit_texts is not None and plan.latency_limit is not None:
        latency_extent = [*latency_extent, plan.latency_limit.value]
        limit_lines = build_limit_line(plan.latency_limit.value, f"SLO {limit_texts[0]} {limit_texts[1]}")
    y = alt.Y("value:Q", title="Latency (ms)", **fit_scale(latency_extent, 20))
    latency_lines = (
        build_layer([{**hour_row, "hour": hour_row["middle"]} for hour_row in hours])
        .transform_fold([*_PERCENTILES], as_=["series", "value"])
        .mark_line(strokeWidth=1.7)
        .encode(x=x, y=y, **build_series_scales([*_PERCENTILES]))
    )
    max_rate = 1.3 * max(hour_row["rate"] for hour_row in hours) or 1.0
    rate_axis = alt.Axis(title="Request rate (req/s)", orient="right", grid=False, format=",~r", tickCount=4)
    rate_y = alt.Y("rate:Q", scale=alt.Scale(domain=[0, max_rate], nice=False), axis=rate_axis)
    rate_bars = (
        build_layer(hours)
        .mark_rect(color=MUTED, opacity=0.22)
        .encode(x=x, x2=alt.X2("end:Q"), y=rate_y, y2=alt.Y2("zero:Q"))
    )
    latency_layers = alt.layer(
        latency_lines, *limit_lines, *_build_instance_labels(hours, x), _build_hover_layer(hours, x)
    )
    return [alt.layer(rate_bars, latency_layers).resolve_scale(y="independent")]


def _build_hover_layer(hours: list[dict[str, Any]], x: alt.X) -> alt.Chart:
    """Build an invisible column per hour, with a tooltip that shows all values of the hour."""
    tooltip = [
        alt.Tooltip("from:N", title="Hour"),
        alt.Tooltip("rate:Q", title="Request rate (req/s)", format=",.3~r"),
        alt.Tooltip("instances:Q", format=",.3~r"),
        *(alt.Tooltip(f"{name}:Q", title=f"{name} latency (ms)", format=",.3~r") for name in _PERCENTILES),
        alt.Tooltip("good:N", title="Responses within SLO"),
        alt.Tooltip("usd:N", title="Cost ($)"),
    ]
    column = build_layer(hours).mark_rect(color=INK, opacity=0)
    chart: alt.Chart = column.encode(
        x=x, x2=alt.X2("end:Q"), y=alt.YValue(0), y2=alt.Y2Value("height"), tooltip=tooltip
    )
    return chart


def _build_hour_record(day: DaySeries, index: int) -> dict[str, Any]:
    hour = day.hours[index]
    return {
        "hour": hour,
        "end": hour + 1,
        "middle": hour + 0.5,
        "zero": 0,
        "from": f"{hour:02}:00",
        "rate": day.arrivals_per_s[index],
        "instances": day.instances[index],
        "p50": day.p50_ms[index],
        "p95": day.p95_ms[index],
        "p99": day.p99_ms[index],
        "good": _format_share(day.good_share[index]),
        "usd": formatting.format_money(day.usd[index]),
    }


def _build_instance_labels(hours: list[dict[str, Any]], x: alt.X) -> list[alt.Chart]:
    """Build the labels of the number of instances, at midnight and whenever the number changes;
    empty if the number never changes."""
    labels = [
        {
            "hour": hour_row["hour"],
            "count": formatting.format_plain(hour_row["instances"]) + (" instances" if index == 0 else ""),
        }
        for index, hour_row in enumerate(hours)
        if index == 0 or hour_row["instances"] != hours[index - 1]["instances"]
    ]
    if len(labels) < 2:
        return []
    label_layer = build_layer(labels).mark_text(color=INK, align="left", baseline="bottom", dx=2, dy=-3)
    return [label_layer.encode(x=x, y=alt.YValue("height"), text=alt.Text("count:N"))]


def _build_rows(day: DaySeries) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{hour:02}:00",
            formatting.format_number(day.arrivals_per_s[index]),
            formatting.format_plain(day.instances[index]),
            *(_format_ms(latencies_ms[index]) for latencies_ms in (day.p50_ms, day.p95_ms, day.p99_ms)),
            _format_share(day.good_share[index]),
            formatting.format_money(day.usd[index]),
        )
        for index, hour in enumerate(day.hours)
    )


def _format_ms(value: float | None) -> str:
    return formatting.NOT_AVAILABLE if value is None else formatting.format_number(value)


def _format_share(value: float | None) -> str:
    return formatting.format_value_unit(Quantity(value, "share"))
