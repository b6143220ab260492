"""Chart of the latency CDF: the share of requests with at most a given latency, on a linear
scale."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    CDF_LIMIT_METRICS,
    build_layer,
    build_series_scales,
    build_spec,
    build_vertical_limit_line,
    fit_scale,
)
from reports.model import PercentileCurve, Report


def build_cdf_chart(report: Report) -> Chart | None:
    """Build the chart of the latency CDF; `None` if the result is based on fewer than two
    successful requests."""
    curves = [curve for curve in report.distributions if curve.n > 1]
    if not curves:
        return None
    limit = report.curve.limit if report.curve.metric in CDF_LIMIT_METRICS else None
    points = [point for curve in curves for point in _build_points(curve)]
    latencies_ms = [point["ms"] for point in points] + ([] if limit is None else [limit.value])
    x = alt.X("ms:Q", title="Latency (ms)", **fit_scale(latencies_ms, 20))
    y = alt.Y("percent:Q", title="Share of requests (%)", scale=alt.Scale(domain=[0, 100]))
    tooltip = [
        alt.Tooltip("series:N", title="Metric"),
        alt.Tooltip("ms:Q", title="Latency (ms)", format=",.3~r"),
        alt.Tooltip("percent:Q", title="Share of requests (%)", format=",.4~r"),
    ]
    lines = (
        build_layer(points)
        .mark_line(interpolate="step-after", strokeWidth=1.7)
        .encode(x=x, y=y, tooltip=tooltip, **build_series_scales([curve.label for curve in curves]))
    )
    limit_lines = (
        [] if limit is None else build_vertical_limit_line(limit.value, f"SLO {formatting.format_limit(limit)}")
    )
    return Chart(
        key="ecdf",
        title="Latency distribution (CDF)",
        alternative=" ".join(map(_describe_curve, curves)),
        spec=build_spec([lines, *limit_lines], "ecdf"),
        columns=("metric", "share of requests", "latency (ms)"),
        rows=tuple(row for curve in curves for row in _build_rows(curve)),
        note=f"The empirical distribution is based on the same {formatting.format_count(curves[0].n)} requests as the "
        "percentiles.",
    )


def _build_points(curve: PercentileCurve) -> list[dict[str, Any]]:
    """Return the points of the CDF, starting with 0 % at the minimum latency."""
    start_points = [{"series": curve.label, "ms": curve.ms[0], "percent": 0.0}]
    return start_points + [
        {"series": curve.label, "ms": ms, "percent": round(100 * share, 4)}
        for share, ms in zip(curve.share, curve.ms, strict=True)
    ]


def _build_rows(curve: PercentileCurve) -> list[tuple[str, ...]]:
    """Return the table of the CDF in steps of 5 %, each with the lowest latency that reaches the
    share."""
    indices = dict.fromkeys(bisect_right(curve.share, step / 20 - 1e-9) for step in range(1, 21))
    return [
        (curve.label, formatting.format_percent(curve.share[index]), formatting.format_number(curve.ms[index]))
        for index in indices
        if index < len(curve.ms)
    ]


def _describe_curve(curve: PercentileCurve) -> str:
    median_ms = curve.ms[bisect_right(curve.share, 0.5 - 1e-9)]
    lowest_text, median_text, highest_text = (
        formatting.format_number(ms) for ms in (curve.ms[0], median_ms, curve.ms[-1])
    )
    metric_text = f"{curve.label[:1].upper()}{curve.label[1:]}"
    return f"{metric_text} ranges from {lowest_text} ms to {highest_text} ms, with a median of {median_text} ms."
