"""The peak day of the recommended fleet, hour by hour: how much comes, and how long answers take."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting, plan_words
from reports.charts.picture import Drawing
from reports.charts.style import INK, MUTED, chart_of, fitted, limit_line, series_scales, styled
from reports.plan_section import DaySeries, PlanSection
from reports.quantity import Quantity

_TIMES = ("p50", "p95", "p99")


def peak_day(plan: PlanSection | None) -> Drawing | None:
    """None without a day that was played."""
    if plan is None or plan.day is None:
        return None
    return Drawing(
        key="day",
        title="The peak day, hour by hour",
        alternative=f"{plan_words.day(plan)}.",
        spec=styled(_layers(plan, plan.day), "day"),
        columns=("hour", "requests/s", "instances", *(f"{name}, ms" for name in _TIMES), "good", "USD"),
        rows=_rows(plan.day),
        note=f"{plan_words.day(plan)}. The grey ground is the rate, on the right; each hour is played for itself.",
    )


def _layers(plan: PlanSection, day: DaySeries) -> list[alt.Chart]:
    hours = [_hour(day, place) for place in range(len(day.hours))]
    scale = alt.Scale(domain=[0, 24], nice=False)
    x = alt.X("hour:Q", title="hour of the day", scale=scale, axis=alt.Axis(values=list(range(0, 25, 3)), format="d"))
    answered = [one[name] for one in hours for name in _TIMES if one[name] is not None]
    limit, heights = plan_words.day_limit(plan), answered or [1.0]
    line = []
    if limit is not None and plan.latency_limit is not None:
        heights = [*heights, plan.latency_limit.value]
        line = limit_line(plan.latency_limit.value, f"SLO on {limit[0]} {limit[1]}")
    y = alt.Y("value:Q", title="latency, ms", **fitted(heights, 20))
    times = (
        chart_of([{**one, "hour": one["middle"]} for one in hours])
        .transform_fold([*_TIMES], as_=["series", "value"])
        .mark_line(strokeWidth=1.7)
        .encode(x=x, y=y, **series_scales([*_TIMES]))
    )
    top = 1.3 * max(one["rate"] for one in hours) or 1.0
    right = alt.Axis(title="requests/s", orient="right", grid=False, format=",~r", tickCount=4)
    rates = alt.Y("rate:Q", scale=alt.Scale(domain=[0, top], nice=False), axis=right)
    rate = chart_of(hours).mark_rect(color=MUTED, opacity=0.22).encode(x=x, x2="end:Q", y=rates, y2="zero:Q")
    latency = alt.layer(times, *line, *_changes(hours, x), _hover(hours, x))
    return [alt.layer(rate, latency).resolve_scale(y="independent")]


def _hover(hours: list[dict[str, Any]], x: alt.X) -> alt.Chart:
    """An invisible column an hour that answers the pointer with all numbers of the hour."""
    tooltip = [
        alt.Tooltip("from:N", title="hour"),
        alt.Tooltip("rate:Q", title="requests/s", format=",.3~r"),
        alt.Tooltip("instances:Q", format=",.3~r"),
        *(alt.Tooltip(f"{name}:Q", title=f"{name}, ms", format=",.3~r") for name in _TIMES),
        alt.Tooltip("good:N"),
        alt.Tooltip("usd:N", title="USD"),
    ]
    column = chart_of(hours).mark_rect(color=INK, opacity=0)
    chart: alt.Chart = column.encode(x=x, x2="end:Q", y=alt.value(0), y2=alt.value("height"), tooltip=tooltip)
    return chart


def _hour(day: DaySeries, place: int) -> dict[str, Any]:
    hour = day.hours[place]
    return {
        "hour": hour,
        "end": hour + 1,
        "middle": hour + 0.5,
        "zero": 0,
        "from": f"{hour:02}:00",
        "rate": day.arrivals_per_s[place],
        "instances": day.instances[place],
        "p50": day.p50_ms[place],
        "p95": day.p95_ms[place],
        "p99": day.p99_ms[place],
        "good": _share(day.good_share[place]),
        "usd": formatting.money(day.usd[place]),
    }


def _changes(hours: list[dict[str, Any]], x: alt.X) -> list[alt.Chart]:
    """How many instances, at midnight and where the number changes; nothing where it never does."""
    told = [
        {"hour": one["hour"], "count": formatting.plain(one["instances"]) + (" instances" if place == 0 else "")}
        for place, one in enumerate(hours)
        if place == 0 or one["instances"] != hours[place - 1]["instances"]
    ]
    if len(told) < 2:
        return []
    text = chart_of(told).mark_text(color=INK, align="left", baseline="bottom", dx=2, dy=-3)
    return [text.encode(x=x, y=alt.value("height"), text="count:N")]


def _rows(day: DaySeries) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{hour:02}:00",
            formatting.number(day.arrivals_per_s[place]),
            formatting.plain(day.instances[place]),
            *(_ms(times[place]) for times in (day.p50_ms, day.p95_ms, day.p99_ms)),
            _share(day.good_share[place]),
            formatting.money(day.usd[place]),
        )
        for place, hour in enumerate(day.hours)
    )


def _ms(value: float | None) -> str:
    return formatting.NOT_AVAILABLE if value is None else formatting.number(value)


def _share(value: float | None) -> str:
    return formatting.value_unit(Quantity(value, "share"))
