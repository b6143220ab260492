"""Chart of latency by percentile, with a logarithmic axis that expands the tail."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import build_spec, fit_scale, limit_line, new_chart, point_scales
from reports.model import PercentileCurve, Report

_TICKS = {2: "p50", 4: "p75", 10: "p90", 20: "p95", 100: "p99", 1000: "p99.9", 10000: "p99.99"}
_DRAWN = ("latency_ms", "service_ms", "ttft_ms")
_LABELS = " : ".join(f"datum.value == {one_in} ? '{name}'" for one_in, name in _TICKS.items()) + " : ''"


def latency_percentiles(report: Report) -> Chart | None:
    """Build the chart of latency by percentile; `None` if no successful request contributed to the
    result."""
    if not report.spectra:
        return None
    points = _points(report)
    if not points:
        return None
    farthest = max(point["one_in"] for point in points)
    axis = alt.Axis(values=[one_in for one_in in _TICKS if one_in <= farthest], labelExpr=_LABELS, grid=True)
    x = alt.X("one_in:Q", title="percentile", axis=axis, scale=alt.Scale(type="log", nice=False))
    limit = report.curve.limit if report.curve.metric in _DRAWN else None
    heights = [point["ms"] for point in points] + ([] if limit is None else [limit.value])
    y = alt.Y("ms:Q", title="ms", **fit_scale(heights, 20))
    tooltip = [
        alt.Tooltip("series:N", title="metric"),
        alt.Tooltip("share:N", title="percentile"),
        alt.Tooltip("ms:Q", format=",.3~r"),
    ]
    lines = (
        new_chart(points)
        .mark_line(point=alt.OverlayMarkDef(size=22))
        .encode(x=x, y=y, tooltip=tooltip, **point_scales([spectrum.label for spectrum in report.spectra]))
    )
    limit_label = f"SLO {formatting.metric_name(report.curve.metric, report.curve.percentile)}"
    line = [] if limit is None else limit_line(limit.value, limit_label)
    requests = formatting.format_count(report.spectra[0].n)
    return Chart(
        key="spectrum",
        title="Latency by percentile",
        alternative=" ".join(_ends(spectrum) for spectrum in report.spectra),
        spec=build_spec([lines, *line], "spectrum"),
        columns=("metric", "percentile", "ms"),
        rows=tuple((point["series"], point["share"], formatting.format_number(point["ms"])) for point in points),
        note=f"{requests} requests from the headline stages, pooled.",
    )


def _points(report: Report) -> list[dict[str, Any]]:
    return [
        {"series": spectrum.label, "one_in": 1 / (1 - share), "ms": ms, "share": f"p{100 * share:.4g}"}
        for spectrum in report.spectra
        for share, ms in zip(spectrum.share, spectrum.ms, strict=True)
    ]


def _ends(spectrum: PercentileCurve) -> str:
    middle = spectrum.ms[min(range(len(spectrum.share)), key=lambda index: abs(spectrum.share[index] - 0.5))]
    return (
        f"{spectrum.label[:1].upper()}{spectrum.label[1:]}: median {formatting.format_number(middle)} ms, "
        f"p{100 * spectrum.share[-1]:.4g} {formatting.format_number(spectrum.ms[-1])} ms."
    )
