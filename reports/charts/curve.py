"""Chart of latency by offered rate, including stages that missed the SLO."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    ACCENT,
    INK,
    LIMIT,
    MUTED,
    PAPER,
    SERIES,
    build_layer,
    build_limit_line,
    build_markers,
    build_spec,
    fit_scale,
)
from reports.model import FIXED_RATE_KINDS, Report, StageRow
from reports.sections.knees import list_knee_markers

_STATE_STYLES = {
    "passed": (ACCENT, ACCENT, "circle"),
    "failed": (PAPER, SERIES[1], "circle"),
    "not evaluated": (PAPER, MUTED, "square"),
    "INVALID": (PAPER, LIMIT, "cross"),
}


def build_rate_chart(report: Report) -> Chart | None:
    """Build the chart of latency by offered rate; `None` unless at least two distinct rates have a
    latency."""
    stages = [stage for stage in report.stages if stage.kind in FIXED_RATE_KINDS and not stage.pooled]
    points = [
        _build_point(stage) for stage in stages if _get_rate(stage) is not None and stage.evaluated.value is not None
    ]
    if len({point["offered"] for point in points}) < 2:
        return None
    latency_name = formatting.format_metric_label(report.curve.metric, report.curve.percentile)
    missing_count = len(stages) - len(points)
    return Chart(
        key="curve",
        title=f"{latency_name} by offered rate",
        alternative=_describe_points(report, points, latency_name),
        spec=build_spec(_build_layers(report, points, latency_name), "curve"),
        columns=("stage", "offered rate", "send rate", "goodput", latency_name, "result"),
        rows=tuple(_build_row(stage) for stage in stages),
        note=f"{missing_count} of {len(stages)} stages have no {latency_name} and are only in the table."
        if missing_count
        else None,
    )


def _get_rate(stage: StageRow) -> float | None:
    """Return the rate of a stage for the x axis: the scheduled rate if known, so that repeats of a
    rate have the same x coordinate; otherwise the offered rate."""
    return stage.offered.value if stage.scheduled_per_s is None else stage.scheduled_per_s


def _build_point(stage: StageRow) -> dict[str, Any]:
    low, high = stage.evaluated.ci95 or (stage.evaluated.value, stage.evaluated.value)
    return {
        "offered": _get_rate(stage),
        "latency": stage.evaluated.value,
        "low": low,
        "high": high,
        "state": stage.state,
        "result": formatting.display_state(stage.state),
        "stage": stage.stage,
        "shown": formatting.format_quantity(stage.evaluated),
    }


def _build_layers(report: Report, points: list[dict[str, Any]], latency_name: str) -> list[alt.Chart]:
    limits = [] if report.curve.limit is None else [report.curve.limit.value]
    latencies = [*limits, *(point[bound_key] for point in points for bound_key in ("low", "high"))]
    rates = [point["offered"] for point in points]
    x = alt.X(
        "offered:Q",
        title=f"Offered rate ({'sessions/s' if report.curve.counts == 'sessions' else 'req/s'})",
        **fit_scale(rates, 12, from_zero=False),
    )
    y = alt.Y("latency:Q", title=f"{latency_name} (ms)", **fit_scale(latencies, 20))
    data = build_layer(points)
    bars = data.mark_rule(color=MUTED, opacity=0.7).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"))
    mean_points = _compute_means(points)
    lines = [build_layer(mean_points).mark_line(color=ACCENT).encode(x=x, y=y)] if mean_points else []
    shown_states = [state for state in _STATE_STYLES if any(point["state"] == state for point in points)]
    state_texts = [*map(formatting.display_state, shown_states)]
    fills, strokes, shapes = (
        list(column) for column in zip(*(_STATE_STYLES[state] for state in shown_states), strict=True)
    )
    legend = alt.Legend(title=None)
    marks = data.mark_point(size=45, strokeWidth=2, opacity=1).encode(
        x=x,
        y=y,
        fill=alt.Fill("result:N", legend=legend, scale=alt.Scale(domain=state_texts, range=fills)),
        stroke=alt.Stroke("result:N", legend=legend, scale=alt.Scale(domain=state_texts, range=strokes)),
        shape=alt.Shape("result:N", legend=legend, scale=alt.Scale(domain=state_texts, range=shapes)),
        tooltip=[
            alt.Tooltip("stage:N"),
            alt.Tooltip("offered:Q", title="Offered rate (req/s)", format=",.3~r"),
            alt.Tooltip("shown:N", title=latency_name),
            alt.Tooltip("result:N"),
        ],
    )
    return [
        *_build_max_rate_layers(report, x),
        *build_markers(list_knee_markers(report, "1/s"), x),
        *lines,
        bars,
        *_build_limit_line(report),
        marks,
    ]


def _compute_means(points: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Return the mean latency per rate for the line of the chart, excluding INVALID stages."""
    valid_points = sorted(
        (point for point in points if point["state"] != "INVALID"), key=lambda point: point["offered"]
    )
    return [
        {"offered": rate, "latency": fmean(point["latency"] for point in points_at_rate)}
        for rate, points_at_rate in groupby(valid_points, key=lambda point: point["offered"])
    ]


def _build_limit_line(report: Report) -> list[alt.Chart]:
    limit = report.curve.limit
    return [] if limit is None else build_limit_line(limit.value, f"SLO {formatting.format_limit(limit)}")


def _build_max_rate_layers(report: Report, x: alt.X) -> list[alt.Chart]:
    if report.max_rate is None or report.max_rate.per_s.value is None:
        return []
    max_rate = report.max_rate.per_s
    low, high = max_rate.ci95 or (max_rate.value, max_rate.value)
    label_text = f"{'max ≥' if report.max_rate.is_lower_bound else 'max'} {formatting.format_value_unit(max_rate)}"
    data = build_layer([{"offered": max_rate.value, "low": low, "high": high, "text": label_text}])
    band = data.mark_rect(color=ACCENT, opacity=0.15).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"))
    rule = data.mark_rule(color=INK, strokeWidth=1).encode(x=x)
    label = data.mark_text(align="right", baseline="top", dx=-6, dy=2, fontWeight=600).encode(
        x=x, y=alt.YValue(0), text=alt.Text("text:N")
    )
    return [band, rule, label]


def _build_row(stage: StageRow) -> tuple[str, ...]:
    quantities = (stage.offered, stage.achieved, stage.good, stage.evaluated)
    return (
        stage.stage,
        *(formatting.format_quantity(quantity) for quantity in quantities),
        formatting.display_state(stage.state),
    )


def _describe_points(report: Report, points: list[dict[str, Any]], latency_name: str) -> str:
    rates = [point["offered"] for point in points]
    failed_count = sum(point["state"] == "failed" for point in points)
    description = (
        f"{len(points)} stages ran at {formatting.format_number(min(rates))} to "
        f"{formatting.with_unit(formatting.format_number(max(rates)), 'req/s')}; {failed_count} "
        f"missed the SLO. At the lowest rate, {latency_name} was {points[rates.index(min(rates))]['shown']}; at the "
        f"highest rate, {points[rates.index(max(rates))]['shown']}."
    )
    if report.max_rate is not None and report.max_rate.per_s.value is not None:
        rate_text = formatting.format_quantity(report.max_rate.per_s)
        is_lower_bound = report.max_rate.is_lower_bound
        description += (
            f" The max rate is at least {rate_text}; no higher rate was tested."
            if is_lower_bound
            else f" The max rate is {rate_text}."
        )
    return description
