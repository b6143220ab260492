"""Chart of latency by percentile, with a logarithmic axis that expands the tail."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    build_layer,
    build_limit_line,
    build_point_scales,
    build_spec,
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
