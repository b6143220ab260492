"""Figures of host, process, GPU and server telemetry over the run, one per kind and unit."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from reports import formatting
from reports.sections.figure import MAX_SERIES, Figure, FigureAxis, FigureLine, LineFigure, describe_hidden
from reports.sections.timelines import TIME_AXIS

if TYPE_CHECKING:
    from reports.model import Report, TelemetrySeries

_FIGURES = {
    "busy": ("%", "Utilization", "utilization", ("host_cpu_percent", "gpu_utilization_percent", "core_cpu_percent")),
    "cores": ("cores", "CPU cores used by process", "CPU usage",
              ("endpoint_cpu_cores", "model_cpu_cores", "generator_cpu_cores", "engine_cpu_cores")),
    "memory": ("GiB", "Memory in use", "memory", ("host_memory_gib", "model_memory_gib", "gpu_memory_gib")),
    "power": ("W", "GPU power", "GPU power", ("gpu_power_w",)),
    "clocks": ("MHz", "GPU clocks", "GPU clock", ("gpu_sm_clock_mhz",)),
    "temperature": ("°C", "GPU temperature", "GPU temperature", ("gpu_temperature_c",)),
    "server-requests": ("requests", "Requests in the server", "requests",
                        ("server_running_requests", "server_waiting_requests")),
    "server-cache": ("%", "Server cache", "share", ("server_kv_cache_percent", "server_cache_hit_percent")),
}  # fmt: skip
_SERVER_SERIES_NAMES = {
    "server_running_requests": "running",
    "server_waiting_requests": "waiting",
    "server_kv_cache_percent": "KV cache in use",
    "server_cache_hit_percent": "prefix cache hits",
}

_MIN_SAMPLES = 2
"""Minimum number of samples in a series that are needed to draw a line."""


def build_telemetry_figures(report: Report) -> dict[str, Figure | None]:
    """Build the figures of telemetry by key. Series without samples are omitted, and a figure without a
    series that has enough samples for a line is `None`."""
    return {key: _build_figure(report, *settings) for key, settings in _FIGURES.items()}


def _build_figure(
    report: Report, unit: str, title: str, quantity_name: str, metrics: tuple[str, ...]
) -> LineFigure | None:
    series_with_samples = [
        series for series in report.telemetry if series.metric in metrics and any(map(_has_value, series.values))
    ]
    if all(sum(map(_has_value, series.values)) < _MIN_SAMPLES for series in series_with_samples):
        return None
    shown_series = series_with_samples[:MAX_SERIES]
    return LineFigure(
        title=title,
        x=TIME_AXIS,
        y=FigureAxis(quantity_name, unit, bounds=(0, 100) if unit == "%" else None, scale="round"),
        lines=tuple(
            FigureLine(series.source, _format_series_name(series), series.at_s, series.values)
            for series in shown_series
        ),
        alternative=" ".join(map(_describe_series, series_with_samples)),
        columns=("series", "mean", "max", "min"),
        rows=tuple(map(_build_row, series_with_samples)),
        note=_build_note(series_with_samples, shown_series),
    )


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
    hidden_text = describe_hidden(len(series_with_samples) - len(shown_series), "series")
    return ". ".join(filter(None, ("; ".join(texts), hidden_text)))


def _format_kind(series: TelemetrySeries) -> str:
    return "GPU" if series.source.startswith("gpu") else _format_series_name(series)


def _has_value(value: float | None) -> bool:
    return value is not None
