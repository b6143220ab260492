"""Charts of host, process and GPU telemetry over the run, one chart per unit."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import MAX_SERIES, build_spec, new_chart, series_scales, zoom
from reports.model import Report, TelemetrySeries

_CHARTS = {
    "%": ("busy", "Utilization", ("host_cpu_percent", "gpu_utilization_percent", "core_cpu_percent")),
    "cores": ("cores", "CPU cores used by process",
              ("endpoint_cpu_cores", "model_cpu_cores", "generator_cpu_cores", "engine_cpu_cores")),
    "GiB": ("memory", "Memory in use", ("host_memory_gib", "model_memory_gib", "gpu_memory_gib")),
    "W": ("power", "GPU power", ("gpu_power_w",)),
    "MHz": ("clocks", "GPU clocks", ("gpu_sm_clock_mhz",)),
    "°C": ("temperature", "GPU temperature", ("gpu_temperature_c",)),
}  # fmt: skip


_MIN_READINGS = 2
"""Minimum number of samples of a series for a line."""


def machine_charts(report: Report) -> tuple[Chart, ...]:
    """Build the telemetry charts. Series without samples are omitted, and so are charts in which no
    series has enough samples for a line."""
    drawings = (_chart(report, unit, *chart) for unit, chart in _CHARTS.items())
    return tuple(drawing for drawing in drawings if drawing is not None)


def _chart(report: Report, unit: str, key: str, title: str, metrics: tuple[str, ...]) -> Chart | None:
    with_readings = [
        series for series in report.telemetry if series.metric in metrics and any(map(_is_known, series.values))
    ]
    if all(sum(map(_is_known, series.values)) < _MIN_READINGS for series in with_readings):
        return None
    shown = with_readings[:MAX_SERIES]
    points = [
        {"at": at, "series": _name(series), "value": value}
        for series in shown
        for at, value in zip(series.at_s, series.values, strict=True)
    ]
    return Chart(
        key=key,
        title=title,
        alternative=" ".join(_sentence(series) for series in with_readings),
        spec=build_spec([_lines(points, [_name(series) for series in shown], unit, key)], key),
        columns=("series", "mean", "max", "min"),
        rows=tuple(_row(series) for series in with_readings),
        note=_note(with_readings, shown),
    )


def _lines(points: list[dict[str, Any]], names: list[str], unit: str, key: str) -> alt.Chart:
    top = 100 if unit == "%" else None
    scale = alt.Scale(domain=[0, top]) if top else alt.Scale(zero=True)
    chart: alt.Chart = (
        new_chart(points)
        .mark_line(strokeWidth=1.7)
        .encode(
            x=alt.X("at:Q", title="time since start, s", scale=alt.Scale(zero=False, nice=False)),
            y=alt.Y("value:Q", title=unit, scale=scale),
            tooltip=[
                alt.Tooltip("series:N"),
                alt.Tooltip("at:Q", title="time, s", format=",.4~r"),
                alt.Tooltip("value:Q", title=unit, format=",.3~r"),
            ],
            **series_scales(names),
        )
        .add_params(zoom(f"{key}_zoom"))
    )
    return chart


def _name(series: TelemetrySeries) -> str:
    return "host CPU" if series.metric == "host_cpu_percent" else series.source


def _sentence(series: TelemetrySeries) -> str:
    known = [value for value in series.values if value is not None]
    mean, high = (
        formatting.with_unit(formatting.format_number(value), series.unit) for value in (fmean(known), max(known))
    )
    return f"{_name(series)}: mean {mean}, max {high}."


def _row(series: TelemetrySeries) -> tuple[str, ...]:
    known = [value for value in series.values if value is not None]
    numbers = (fmean(known), max(known), min(known))
    return (_name(series), *(formatting.with_unit(formatting.format_number(value), series.unit) for value in numbers))


def _note(with_readings: list[TelemetrySeries], shown: list[TelemetrySeries]) -> str:
    """Describe the shown series with the descriptions from the metric catalog."""
    texts = dict.fromkeys(f"{_kind(series)}: {series.description}." for series in with_readings)
    hidden = len(with_readings) - len(shown)
    omitted_note = [f"{hidden} more series are only in the table."] if hidden else []
    return " ".join([*texts, *omitted_note])


def _kind(series: TelemetrySeries) -> str:
    return "GPU" if series.source.startswith("gpu") else _name(series)


def _is_known(value: float | None) -> bool:
    return value is not None
