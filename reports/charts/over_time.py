"""Charts over time: the offered, sent, completed and good request rates, and the latency."""

from __future__ import annotations

from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    ACCENT,
    INK,
    MUTED,
    SERIES,
    build_layer,
    build_limit_line,
    build_series_scales,
    build_spec,
    build_zoom_parameter,
    fit_scale,
)
from reports.model import LoadSeries, Report

_RATE_NAMES = ("offered", "sent", "completed", "good")
_KIND_COLORS = {
    "warmup": MUTED,
    "probe": SERIES[1],
    "step": ACCENT,
    "steady": ACCENT,
    "closed": SERIES[2],
    "varying": SERIES[3],
    "spike": SERIES[5],
    "batch": SERIES[2],
}
_X = alt.X("at:Q", title="Time since start (s)", scale=alt.Scale(zero=False, nice=False))


def build_rate_timeline_chart(report: Report) -> Chart | None:
    """Build the chart of request rates; `None` if no request was scheduled."""
    load = report.load
    if load is None:
        return None
    columns = dict(
        zip(_RATE_NAMES, (load.offered_per_s, load.sent_per_s, load.completed_per_s, load.good_per_s), strict=True)
    )
    is_closed_loop = all(stage.kind in ("closed", "warmup") for stage in report.stages) and bool(report.stages)
    if is_closed_loop:
        # A closed loop has no offered rate: a response triggers the next request.
        del columns["offered"]
    series_names = [*columns]
    columns["in flight"] = tuple(map(float, load.in_flight))
    records = _build_records(load, columns)
    max_rate = max(map(max, (load.offered_per_s, load.sent_per_s, load.completed_per_s)))
    y_options = {"scale": alt.Scale(domain=[0, 1.12 * max_rate], nice=False)}  # the stage band is at the top
    lines = _build_lines(records, series_names, "Request rate (req/s)", y_options)
    layers = [
        lines,
        *_build_steady_layer(report),
        *_build_stage_band(report, load),
        _build_hover_layer(records, [*columns]),
    ]
    return Chart(
        key="rates",
        title="Request rate over time",
        alternative=_describe_rates(load, "sent" if is_closed_loop else "offered"),
        spec=build_spec(_add_zoom(layers, "rates_zoom"), "rates"),
        columns=("Time (s)", *(f"{name} (req/s)" for name in series_names), "in flight"),
        rows=_build_rows(load, list(columns.values())),
        note=f"Each bin covers {formatting.format_plain(load.bin_s)} s. The band at the top shows the stages."
        f"{_describe_steady_layer(report)}",
    )


def build_latency_timeline_chart(report: Report) -> Chart | None:
    """Build the chart of latency; `None` if there are no responses."""
    load = report.load
    latencies = [] if load is None else [value for value in load.p50_ms + load.p95_ms if value is not None]
    if load is None or not latencies:
        return None
    columns = {"p50": load.p50_ms, "p95": load.p95_ms}
    if load.ttft_p95_ms:
        columns["p95 TTFT"] = load.ttft_p95_ms
        latencies += [value for value in load.ttft_p95_ms if value is not None]
    records = _build_records(load, columns)
    slo_metric, metric_text = report.curve.metric, formatting.format_metric_label(report.times)
    limit = report.curve.limit if slo_metric == report.times or (slo_metric == "ttft_ms" and load.ttft_p95_ms) else None
    limit_label = f"SLO {formatting.format_metric_label(slo_metric, report.curve.percentile)}"
    limit_lines = [] if limit is None else build_limit_line(limit.value, limit_label)
    values_ms = latencies + ([] if limit is None else [limit.value])
    lines = _build_lines(records, list(columns), f"{metric_text} (ms)", fit_scale(values_ms, 20))
    layers = [lines, *_build_steady_layer(report), *limit_lines, _build_hover_layer(records, list(columns))]
    max_latency = max(latencies)
    return Chart(
        key="latency",
        title="Latency over time",
        alternative=f"p50 and p95 {metric_text} are shown per bin of {formatting.format_plain(load.bin_s)} s. The "
        f"highest value is {formatting.format_number(max_latency)} ms, and the lowest is "
        f"{formatting.format_number(min(latencies))} ms.",
        spec=build_spec(_add_zoom(layers, "latency_zoom"), "latency"),
        columns=("Time (s)", *(f"{name} (ms)" for name in columns)),
        rows=_build_rows(load, list(columns.values())),
        note="Each latency is plotted at the scheduled start of its request, if known, or else at its send time. Gaps "
        f"are bins without responses.{_describe_steady_layer(report)}",
    )


def _build_records(load: LoadSeries, columns: dict[str, tuple[float, ...]] | dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"at": time_s, **dict(zip(columns, cells, strict=True))}
        for time_s, *cells in zip(load.at_s, *columns.values(), strict=True)
    ]


def _build_lines(
    records: list[dict[str, Any]], series_names: list[str], title: str, y_options: dict[str, Any]
) -> alt.Chart:
    y = alt.Y("value:Q", title=title, **y_options)
    chart: alt.Chart = (
        build_layer(records)
        .transform_fold([*series_names], as_=["series", "value"])
        .mark_line(strokeWidth=1.7)
        .encode(x=_X, y=y, **build_series_scales(series_names))
    )
    return chart


def _build_hover_layer(records: list[dict[str, Any]], series_names: list[str]) -> alt.Chart:
    """Build an invisible vertical line per time bin, with a tooltip that shows all values of the
    bin."""
    tooltip = [alt.Tooltip("at:Q", title="Time (s)", format=",.4~r")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=",.3~r") for name in series_names]
    chart: alt.Chart = build_layer(records).mark_rule(color=INK, opacity=0, strokeWidth=6).encode(x=_X, tooltip=tooltip)
    return chart


def _build_stage_band(report: Report, load: LoadSeries) -> list[alt.Chart]:
    start_s, end_s = load.at_s[0] - load.bin_s / 2, load.at_s[-1] + load.bin_s / 2
    bands = [
        {"from": max(start_s, stage.start_s), "to": min(end_s, stage.end_s), "kind": stage.kind}
        | {"stage": stage.stage}
        for stage in report.stages
        if stage.end_s > start_s and stage.start_s < end_s and not stage.pooled
    ]
    if not bands:
        return []
    shown_kinds = [kind for kind in _KIND_COLORS if any(band["kind"] == kind for band in bands)]
    scale = alt.Scale(domain=shown_kinds, range=[_KIND_COLORS[kind] for kind in shown_kinds])
    # A single row would not fit beside the legend of the lines.
    legend = alt.Legend(title=None, symbolType="square", columns=min(2, (len(shown_kinds) + 1) // 2))
    band_layer = (
        build_layer(bands)
        .mark_rect(opacity=0.85)
        .encode(
            x=alt.X("from:Q"),
            x2=alt.X2("to:Q"),
            y=alt.YValue(0),
            y2=alt.Y2Value(6),
            fill=alt.Fill("kind:N", scale=scale, legend=legend),
            tooltip=[alt.Tooltip("stage:N"), alt.Tooltip("kind:N")],
        )
    )
    return [band_layer]


def _build_steady_layer(report: Report) -> list[alt.Chart]:
    """Build the shading of the steady state of each stage."""
    windows = [
        {"from": row.window_s[0], "to": row.window_s[1], "stage": row.stage}
        for row in report.steady
        if row.window_s is not None
    ]
    if not windows:
        return []
    layer: alt.Chart = (
        build_layer(windows)
        .mark_rect(color=MUTED, opacity=0.14)
        .encode(x=alt.X("from:Q"), x2=alt.X2("to:Q"), tooltip=[alt.Tooltip("stage:N", title="steady state of")])
    )
    return [layer]


def _describe_steady_layer(report: Report) -> str:
    has_windows = any(row.window_s is not None for row in report.steady)
    return " The shaded part of a stage is its steady state." if has_windows else ""


def _add_zoom(layers: list[alt.Chart], parameter_name: str) -> list[alt.Chart]:
    return [layers[0].add_params(build_zoom_parameter(parameter_name)), *layers[1:]]


def _build_rows(load: LoadSeries, columns: list[tuple[float | None, ...]] | list[Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{time_s:.1f}",
            *(formatting.NOT_AVAILABLE if cell is None else formatting.format_number(cell) for cell in cells),
        )
        for time_s, *cells in zip(load.at_s, *columns, strict=True)
    )


def _describe_rates(load: LoadSeries, participle: str) -> str:
    duration_s = load.at_s[-1] - load.at_s[0] + load.bin_s
    request_counts = [
        sum(series) * load.bin_s for series in (load.offered_per_s, load.completed_per_s, load.good_per_s)
    ]
    offered_text, completed_text, good_text = (
        formatting.format_count(round(request_count)) for request_count in request_counts
    )
    return (
        f"{offered_text} requests were {participle} over {formatting.format_duration(duration_s)}, with a peak rate of "
        f"{formatting.with_unit(formatting.format_number(max(load.offered_per_s)), 'req/s')}; {completed_text} "
        f"completed, and {good_text} were within the SLO. The peak concurrency was "
        f"{formatting.format_count(max(load.in_flight))} requests in flight."
    )
