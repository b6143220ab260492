"""Charts of the latency distribution: latency by percentile, with a logarithmic axis that expands
the tail, and the CDF (the share of requests with at most a given latency) on a linear scale."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    CDF_LIMIT_METRICS,
    build_layer,
    build_limit_line,
    build_point_scales,
    build_series_scales,
    build_spec,
    build_vertical_limit_line,
    fit_scale,
)
from reports.model import PercentileCurve, Report

_TICK_NAMES = {2: "p50", 4: "p75", 10: "p90", 20: "p95", 100: "p99", 1000: "p99.9", 10000: "p99.99"}
_PERCENTILE_LIMIT_METRICS = ("latency_ms", "service_ms", "ttft_ms")
_TICK_LABEL_EXPRESSION = (
    " : ".join(f"datum.value == {inverse_tail} ? '{name}'" for inverse_tail, name in _TICK_NAMES.items()) + " : ''"
)


def build_percentile_chart(report: Report) -> Chart | None:
    """Build the chart of latency by percentile; `None` if the result is not based on a successful
    request."""
    if not report.spectra:
        return None
    points = _build_percentile_points(report)
    if not points:
        return None
    max_inverse_tail = max(point["one_in"] for point in points)
    axis = alt.Axis(
        values=[inverse_tail for inverse_tail in _TICK_NAMES if inverse_tail <= max_inverse_tail],
        labelExpr=_TICK_LABEL_EXPRESSION,
        grid=True,
    )
    x = alt.X("one_in:Q", title="Percentile", axis=axis, scale=alt.Scale(type="log", nice=False))
    limit = report.curve.limit if report.curve.metric in _PERCENTILE_LIMIT_METRICS else None
    latencies_ms = [point["ms"] for point in points] + ([] if limit is None else [limit.value])
    y = alt.Y("ms:Q", title="Latency (ms)", **fit_scale(latencies_ms, 20))
    tooltip = [
        alt.Tooltip("series:N", title="Metric"),
        alt.Tooltip("share:N", title="Percentile"),
        alt.Tooltip("ms:Q", title="Latency (ms)", format=",.3~r"),
    ]
    lines = (
        build_layer(points)
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(x=x, y=y, tooltip=tooltip, **build_point_scales([curve.label for curve in report.spectra]))
    )
    limit_label = f"SLO {formatting.format_metric_label(report.curve.metric, report.curve.percentile)}"
    limit_lines = [] if limit is None else build_limit_line(limit.value, limit_label)
    request_count_text = formatting.format_count(report.spectra[0].n)
    return Chart(
        key="spectrum",
        title="Latency by percentile",
        alternative=" ".join(_describe_percentiles(curve) for curve in report.spectra),
        spec=build_spec([lines, *limit_lines], "spectrum"),
        columns=("metric", "percentile", "latency (ms)"),
        rows=tuple((point["series"], point["share"], formatting.format_number(point["ms"])) for point in points),
        note=f"The percentiles cover {request_count_text} requests, pooled over the headline stages.",
    )


def _build_percentile_points(report: Report) -> list[dict[str, Any]]:
    return [
        {"series": curve.label, "one_in": 1 / (1 - share), "ms": ms, "share": f"p{100 * share:.4g}"}
        for curve in report.spectra
        for share, ms in zip(curve.share, curve.ms, strict=True)
    ]


def _describe_percentiles(curve: PercentileCurve) -> str:
    median_ms = curve.ms[min(range(len(curve.share)), key=lambda index: abs(curve.share[index] - 0.5))]
    return (
        f"{curve.label[:1].upper()}{curve.label[1:]} has a median of {formatting.format_number(median_ms)} ms and a "
        f"p{100 * curve.share[-1]:.4g} of {formatting.format_number(curve.ms[-1])} ms."
    )


def build_cdf_chart(report: Report) -> Chart | None:
    """Build the chart of the latency CDF; `None` if the result is based on fewer than two
    successful requests."""
    curves = [curve for curve in report.distributions if curve.n > 1]
    if not curves:
        return None
    limit = report.curve.limit if report.curve.metric in CDF_LIMIT_METRICS else None
    points = [point for curve in curves for point in _build_cdf_points(curve)]
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
        alternative=" ".join(map(_describe_cdf, curves)),
        spec=build_spec([lines, *limit_lines], "ecdf"),
        columns=("metric", "share of requests", "latency (ms)"),
        rows=tuple(row for curve in curves for row in _build_cdf_rows(curve)),
        note=f"The empirical distribution is based on the same {formatting.format_count(curves[0].n)} requests as the "
        "percentiles.",
    )


def _build_cdf_points(curve: PercentileCurve) -> list[dict[str, Any]]:
    """Return the points of the CDF, starting with 0 % at the minimum latency."""
    start_points = [{"series": curve.label, "ms": curve.ms[0], "percent": 0.0}]
    return start_points + [
        {"series": curve.label, "ms": ms, "percent": round(100 * share, 4)}
        for share, ms in zip(curve.share, curve.ms, strict=True)
    ]


def _build_cdf_rows(curve: PercentileCurve) -> list[tuple[str, ...]]:
    """Return the table of the CDF in steps of 5 %, each with the lowest latency that reaches the
    share."""
    indices = dict.fromkeys(bisect_right(curve.share, step / 20 - 1e-9) for step in range(1, 21))
    return [
        (curve.label, formatting.format_percent(curve.share[index]), formatting.format_number(curve.ms[index]))
        for index in indices
        if index < len(curve.ms)
    ]


def _describe_cdf(curve: PercentileCurve) -> str:
    median_ms = curve.ms[bisect_right(curve.share, 0.5 - 1e-9)]
    lowest_text, median_text, highest_text = (
        formatting.format_number(ms) for ms in (curve.ms[0], median_ms, curve.ms[-1])
    )
    metric_text = f"{curve.label[:1].upper()}{curve.label[1:]}"
    return f"{metric_text} ranges from {lowest_text} ms to {highest_text} ms, with a median of {median_text} ms."
