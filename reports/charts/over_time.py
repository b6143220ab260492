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
    build_spec,
    fit_scale,
    limit_line,
    new_chart,
    series_scales,
    zoom,
)
from reports.model import LoadSeries, Report

_RATES = ("offered", "sent", "completed", "good")
_KINDS = {
    "warmup": MUTED,
    "probe": SERIES[1],
    "step": ACCENT,
    "steady": ACCENT,
    "closed": SERIES[2],
    "varying": SERIES[3],
    "spike": SERIES[5],
}
_X = alt.X("at:Q", title="time since start, s", scale=alt.Scale(zero=False, nice=False))


def rates_over_time(report: Report) -> Chart | None:
    """Build the chart of request rates; `None` if no request was scheduled."""
    load = report.load
    if load is None:
        return None
    columns = dict(
        zip(_RATES, (load.offered_per_s, load.sent_per_s, load.completed_per_s, load.good_per_s), strict=True)
    )
    is_closed = all(stage.kind in ("closed", "warmup") for stage in report.stages) and bool(report.stages)
    if is_closed:
        # A closed loop has no offered rate: a response triggers the next request.
        del columns["offered"]
    names = [*columns]
    columns["in flight"] = tuple(map(float, load.in_flight))
    values = _values(load, columns)
    highest = max(map(max, (load.offered_per_s, load.sent_per_s, load.completed_per_s)))
    axis = {"scale": alt.Scale(domain=[0, 1.12 * highest], nice=False)}  # the stage band is at the top
    lines = _lines(values, names, "req/s", axis)
    layers = [lines, *_ribbon(report, load), _hover(values, [*columns])]
    return Chart(
        key="rates",
        title="Request rate over time",
        alternative=_rates_alternative(load, "sent" if is_closed else "offered"),
        spec=build_spec(_with_zoom(layers, "rates_zoom"), "rates"),
        columns=("time, s", *(f"{name}, req/s" for name in names), "in flight"),
        rows=_rows(load, list(columns.values())),
        note=f"Bins of {formatting.format_plain(load.bin_s)} s. The band at the top shows the stages.",
    )


def latency_over_time(report: Report) -> Chart | None:
    """Build the chart of latency; `None` if there are no responses."""
    load = report.load
    latencies = [] if load is None else [value for value in load.p50_ms + load.p95_ms if value is not None]
    if load is None or not latencies:
        return None
    columns = {"p50": load.p50_ms, "p95": load.p95_ms}
    if load.ttft_p95_ms:
        columns["TTFT p95"] = load.ttft_p95_ms
        latencies += [value for value in load.ttft_p95_ms if value is not None]
    values = _values(load, columns)
    slo_metric, times = report.curve.metric, formatting.metric_name(report.times)
    limit = report.curve.limit if slo_metric == report.times or (slo_metric == "ttft_ms" and load.ttft_p95_ms) else None
    limit_label = f"SLO {formatting.metric_name(slo_metric, report.curve.percentile)}"
    line = [] if limit is None else limit_line(limit.value, limit_label)
    heights = latencies + ([] if limit is None else [limit.value])
    lines = _lines(values, list(columns), f"{times}, ms", fit_scale(heights, 20))
    layers = [lines, *line, _hover(values, list(columns))]
    worst = max(latencies)
    return Chart(
        key="latency",
        title="Latency over time",
        alternative=f"p50 and p95 {times} per bin of {formatting.format_plain(load.bin_s)} s. The highest is "
        f"{formatting.format_number(worst)} ms, the lowest {formatting.format_number(min(latencies))} ms.",
        spec=build_spec(_with_zoom(layers, "latency_zoom"), "latency"),
        columns=("time, s", *(f"{name}, ms" for name in columns)),
        rows=_rows(load, list(columns.values())),
        note="Plotted at the scheduled start of requests, if known. Gaps: no responses.",
    )


def _values(load: LoadSeries, columns: dict[str, tuple[float, ...]] | dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"at": at, **dict(zip(columns, cells, strict=True))}
        for at, *cells in zip(load.at_s, *columns.values(), strict=True)
    ]


def _lines(values: list[dict[str, Any]], names: list[str], title: str, axis: dict[str, Any]) -> alt.Chart:
    y = alt.Y("value:Q", title=title, **axis)
    chart: alt.Chart = (
        new_chart(values)
        .transform_fold([*names], as_=["series", "value"])
        .mark_line(strokeWidth=1.7)
        .encode(x=_X, y=y, **series_scales(names))
    )
    return chart


def _hover(values: list[dict[str, Any]], names: list[str]) -> alt.Chart:
    """Build an invisible rule per bin with a tooltip that shows all values of the bin."""
    tooltip = [alt.Tooltip("at:Q", title="time, s", format=",.4~r")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=",.3~r") for name in names]
    chart: alt.Chart = new_chart(values).mark_rule(color=INK, opacity=0, strokeWidth=6).encode(x=_X, tooltip=tooltip)
    return chart


def _ribbon(report: Report, load: LoadSeries) -> list[alt.Chart]:
    first, last = load.at_s[0] - load.bin_s / 2, load.at_s[-1] + load.bin_s / 2
    bars = [
        {"from": max(first, stage.start_s), "to": min(last, stage.end_s), "kind": stage.kind}
        | {"stage": f"{stage.name} #{stage.repeat}"}
        for stage in report.stages
        if stage.end_s > first and stage.start_s < last and not stage.pooled
    ]
    if not bars:
        return []
    kinds = [kind for kind in _KINDS if any(bar["kind"] == kind for bar in bars)]
    scale = alt.Scale(domain=kinds, range=[_KINDS[kind] for kind in kinds])
    # A single row with more than two entries would not fit beside the legend of the lines.
    legend = alt.Legend(title=None, symbolType="square", columns=min(2, len(kinds)))
    ribbon = (
        new_chart(bars)
        .mark_rect(opacity=0.85)
        .encode(
            x=alt.X("from:Q"),
            x2=alt.X2("to:Q"),
            y=alt.value(0),
            y2=alt.value(6),
            fill=alt.Fill("kind:N", scale=scale, legend=legend),
            tooltip=[alt.Tooltip("stage:N"), alt.Tooltip("kind:N")],
        )
    )
    return [ribbon]


def _with_zoom(layers: list[alt.Chart], name: str) -> list[alt.Chart]:
    return [layers[0].add_params(zoom(name)), *layers[1:]]


def _rows(load: LoadSeries, columns: list[tuple[float | None, ...]] | list[Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{at:.1f}",
            *(formatting.NOT_AVAILABLE if cell is None else formatting.format_number(cell) for cell in cells),
        )
        for at, *cells in zip(load.at_s, *columns, strict=True)
    )


def _rates_alternative(load: LoadSeries, verb: str) -> str:
    length_s = load.at_s[-1] - load.at_s[0] + load.bin_s
    totals = [sum(series) * load.bin_s for series in (load.offered_per_s, load.completed_per_s, load.good_per_s)]
    offered, completed, good = (formatting.format_count(round(total)) for total in totals)
    return (
        f"{offered} requests {verb} over {formatting.format_duration(length_s)}, peak rate "
        f"{formatting.with_unit(formatting.format_number(max(load.offered_per_s)), 'req/s')}; {completed} completed, "
        f"{good} within SLO. At most {formatting.format_count(max(load.in_flight))} in flight."
    )
