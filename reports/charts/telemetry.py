"""Charts of host, process, GPU and server telemetry over the run, one chart per kind and unit."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import build_layer, build_series_scales, build_spec, build_zoom_parameter
from reports.model import Report, TelemetrySeries
from reports.sections.figure import MAX_SERIES

_CHARTS = (
    ("%", "busy", "Utilization", "utilization", ("host_cpu_percent", "gpu_utilization_percent", "core_cpu_percent")),
    ("cores", "cores", "CPU cores used by process", "CPU usage",
     ("endpoint_cpu_cores", "model_cpu_cores", "generator_cpu_cores", "engine_cpu_cores")),
    ("GiB", "memory", "Memory in use", "memory", ("host_memory_gib", "model_memory_gib", "gpu_memory_gib")),
    ("W", "power", "GPU power", "GPU power", ("gpu_power_w",)),
    ("MHz", "clocks", "GPU clocks", "GPU clock", ("gpu_sm_clock_mhz",)),
    ("°C", "temperature", "GPU temperature", "GPU temperature", ("gpu_temperature_c",)),
    ("requests", "server-requests", "Requests in the server", "requests",
     ("server_running_requests", "server_waiting_requests")),
    ("%", "server-cache", "Server cache", "share", ("server_kv_cache_percent", "server_cache_hit_percent")),
)  # fmt: skip
_SERVER_SERIES_NAMES = {
    "server_running_requests": "running",
    "server_waiting_requests": "waiting",
    "server_kv_cache_percent": "KV cache in use",
    "server_cache_hit_percent": "prefix cache hits",
}

_MIN_SAMPLES = 2
"""Minimum number of samples in a series that are needed to draw a line."""


def build_telemetry_charts(report: Report) -> tuple[Chart, ...]:
    """Build the telemetry charts. Series without samples are omitted, and so are charts without a
    series that has enough samples for a line."""
    charts = (_build_chart(report, *chart_settings) for chart_settings in _CHARTS)
    return tuple(telemetry_chart for telemetry_chart in charts if telemetry_chart is not None)


def _build_chart(
    report: Report, unit: str, key: str, title: str, quantity_name: str, metrics: tuple[str, ...]
) -> Chart | None:
    series_with_samples = [
        series for series in report.telemetry if series.metric in metrics and any(map(_has_value, series.values))
    ]
    if all(sum(map(_has_value, series.values)) < _MIN_SAMPLES for series in series_with_samples):
        return None
    shown_series = series_with_samples[:MAX_SERIES]
    points = [
        {"at": time_s, "series": _format_series_name(series), "value": value}
        for series in shown_series
        for time_s, value in zip(series.at_s, series.values, strict=True)
    ]
    return Chart(
        key=key,
        title=title,
        alternative=" ".join(_describe_series(series) for series in series_with_samples),
        spec=build_spec(
            [_build_lines(points, [_format_series_name(series) for series in shown_series], quantity_name, unit, key)],
            key,
        ),
        columns=("series", "mean", "max", "min"),
        rows=tuple(_build_row(series) for series in series_with_samples),
        note=_build_note(series_with_samples, shown_series),
    )


def _build_lines(
    points: list[dict[str, Any]], series_names: list[str], quantity_name: str, unit: str, key: str
) -> alt.Chart:
    max_value = 100 if unit == "%" else None
    scale = alt.Scale(domain=[0, max_value]) if max_value else alt.Scale(zero=True)
    chart: alt.Chart = (
        build_layer(points)
        .mark_line(strokeWidth=1.7)
        .encode(
            x=alt.X("at:Q", title="Time since start (s)", scale=alt.Scale(zero=False, nice=False)),
            y=alt.Y("value:Q", title=f"{quantity_name} ({unit})", scale=scale),
            tooltip=[
                alt.Tooltip("series:N"),
                alt.Tooltip("at:Q", title="Time (s)", format=",.4~r"),
                alt.Tooltip("value:Q", title=f"{quantity_name} ({unit})", format=",.3~r"),
            ],
            **build_series_scales(series_names),
        )
        .add_params(build_zoom_parameter(f"{key}_zoom"))
    )
    return chart


def _format_series_name(series: TelemetrySeries) -> str:
    if (name := _SERVER_SERIES_NAMES.get(series.metric)) is not None:
        return f"{name}, {series.source}"
    return "host CPU" if series.metric == "host_cpu_percent" else series.source


def _describe_series(series: TelemetrySeries) -> str:
    present_values = [value for value in series.values if value is not None]
    mean_text, max_text = (
        formatting.with_unit(formatting.format_number(value), series.unit)
        for value in (fmean(present_values), max(present_values))
    )
    return f"{_format_series_name(series)} has a mean of {mean_text} and a maximum of {max_text}."


def _build_row(series: TelemetrySeries) -> tuple[str, ...]:
    present_values = [value for value in series.values if value is not None]
    numbers = (fmean(present_values), max(present_values), min(present_values))
    return (
        _format_series_name(series),
        *(formatting.with_unit(formatting.format_number(value), series.unit) for value in numbers),
    )


def _build_note(series_with_samples: list[TelemetrySeries], shown_series: list[TelemetrySeries]) -> str:
    """Describe the series that the chart shows, with the descriptions from the metric catalog."""
    texts = dict.fromkeys(f"{_format_kind(series)}: {series.description}" for series in series_with_samples)
    hidden_count = len(series_with_samples) - len(shown_series)
    omitted_note = f". {hidden_count} more series are only in the table." if hidden_count else ""
    return "; ".join(texts) + omitted_note


def _format_kind(series: TelemetrySeries) -> str:
    return "GPU" if series.source.startswith("gpu") else _format_series_name(series)


def _has_value(value: float | None) -> bool:
    return value is not None
