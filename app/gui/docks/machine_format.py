"""Formats of machine telemetry, shared by all widgets that show readings."""

from __future__ import annotations

from app.gui.formatting import NOT_AVAILABLE, format_cell, with_unit
from app.records.machine import GpuState
from app.records.telemetry_sources import format_gpu_source


def gpu_title(gpu: GpuState) -> str:
    """Return the title of a GPU, such as "GPU 0" or "AMD GPU 0"."""
    return format_gpu_source(gpu.source)


def format_rounded(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.0f}"


def format_reading(value: float | None, unit: str) -> str:
    """Format a reading, such as "41 °C". A missing value is shown as "n/a" without a unit."""
    return NOT_AVAILABLE if value is None else with_unit(format_rounded(value), unit)


def format_with_maximum(value: float | None, maximum: float | None, unit: str) -> str:
    """Format a reading with its maximum, such as "2.1 of 24 GiB". Return "n/a" if there is no
    reading, and only the reading if the maximum is unknown."""
    if value is None:
        return NOT_AVAILABLE
    if maximum is None:
        return with_unit(format_cell(value), unit)
    return f"{format_cell(value)} of {with_unit(format_cell(maximum), unit)}"


def compute_fraction(value: float | None, maximum: float | None) -> float | None:
    return None if value is None or not maximum else value / maximum


def throttle_text(gpu: GpuState) -> str:
    """Return the throttling state as text with a symbol, so that color is never the only cue."""
    if gpu.throttled_by is None:
        return "Throttling: n/a"
    if not gpu.throttled_by:
        return "Not throttled"
    return "▲ Throttled: {why}".format(why=", ".join(gpu.throttled_by))
