"""Axes of a chart: label, unit, linear or logarithmic scale, and ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_CLOCK_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
_MAX_ATTEMPTS = 4
_LOG_MANTISSAS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0))
_PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 0.0, 95.0, 75.0, 99.5)
"""Ticks of an axis of percentiles, most important first."""


class Axis(msgspec.Struct, frozen=True):
    """Axis of a chart. If `is_from_zero` is true, a linear axis starts at 0 unless the data
    contains negative values. An axis of percentiles has the scale of HdrHistogram: the logarithm of
    1/(1−q), so that p90, p99 and p99.9 are equally far apart."""

    label: str
    unit: str = ""
    is_log: bool = False
    is_from_zero: bool = True
    is_percentile: bool = False
    is_count: bool = False
    """True if the axis has ticks only at whole numbers."""

    @property
    def has_vertical_grid(self) -> bool:
        return self.is_log or self.is_percentile

    @property
    def text(self) -> str:
        """Label of the axis with the unit in parentheses, as shown in headings."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def to_view(self, values: npt.ArrayLike) -> Floats:
        """Convert values to view coordinates (log10 on a logarithmic axis). Values that cannot be
        displayed become NaN."""
        array = np.asarray(values, dtype=np.float64)
        if self.is_percentile:
            positions = np.full(array.shape, np.nan)
            np.log10(1 - array / 100, out=positions, where=array < 100)
            return -positions
        if not self.is_log:
            return array
        positions = np.full(array.shape, np.nan)
        np.log10(array, out=positions, where=array > 0)
        return positions

    def from_view(self, position: float) -> float:
        if self.is_percentile:
            return float(100 * (1 - 10.0**-position))
        return float(10.0**position) if self.is_log else position


def linear_ticks(
    low: float, high: float, max_ticks: int, *, is_clock: bool = False, is_count: bool = False
) -> list[float]:
    """Return round tick values between `low` and `high`. The number of ticks is about `max_ticks`
    or less, but at least two if possible, since a single tick does not show the scale."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return []
    ticks: list[float] = []
    for tick_count in range(max(max_ticks, 1), max(max_ticks, 1) + _MAX_ATTEMPTS):
        step = _choose_step(span / tick_count, is_clock=is_clock)
        first_multiple, last_multiple = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = [multiple * step for multiple in range(first_multiple, last_multiple + 1)]
        if is_count:
            ticks = [tick for tick in ticks if tick.is_integer()]
        if len(ticks) > 1:
            break
    return ticks


def _choose_step(min_step: float, *, is_clock: bool) -> float:
    if is_clock and _CLOCK_STEPS[0] <= min_step <= _CLOCK_STEPS[-1]:
        return next(step for step in _CLOCK_STEPS if step >= min_step)
    power = 10.0 ** math.floor(math.log10(min_step))
    return next(step * power for step in _STEPS if step * power >= min_step * (1 - 1e-9))


def log_ticks(low: float, high: float, max_ticks: int) -> list[float]:
    """Return tick positions on a logarithmic axis: the exponents (log10) of round values between
    the exponents `low` and `high`."""
    if high - low < 0.7:
        linear_values = linear_ticks(10.0**low, 10.0**high, max_ticks)
        return [math.log10(value) for value in linear_values if value > 0]
    decades = range(math.floor(low), math.ceil(high) + 1)
    best_positions: list[float] = []
    for mantissas in _LOG_MANTISSAS:
        positions = [decade + math.log10(mantissa) for decade in decades for mantissa in mantissas]
        visible_positions = [position for position in positions if low - 1e-9 <= position <= high + 1e-9]
        if len(visible_positions) > max_ticks and best_positions:
            break
        best_positions = visible_positions
    if len(best_positions) > max_ticks:
        stride = math.ceil(len(best_positions) / max_ticks)
        best_positions = [position for position in best_positions if round(position) % stride == 0]
    return best_positions


def percentile_ticks(axis: Axis, low: float, high: float, min_distance: float) -> list[float]:
    """Return the positions of round percentiles between two positions of an axis of percentiles, at
    least `min_distance` apart."""
    ticks: list[float] = []
    for position in axis.to_view(_PERCENTILES).tolist():
        is_free = all(abs(position - tick) >= min_distance for tick in ticks)
        if low - 1e-9 <= position <= high + 1e-9 and is_free:
            ticks.append(position)
    return sorted(ticks)


def percentile_text(percentile: float) -> str:
    """Format a percentile, such as `p99.9`, with as many digits as its distance from 100 has."""
    decimals = 0 if percentile >= 100 else max(0, 1 - math.floor(math.log10(100 - percentile) + 1e-9))
    text = f"{percentile:.{min(decimals, 6)}f}"
    return f"p{text.rstrip('0').rstrip('.') if '.' in text else text}"


def log_tick_texts(values: Sequence[float]) -> list[str]:
    """Format the tick values of a logarithmic axis, in ascending order. Each has the digits that
    distinguish it from its neighbors, which on a short axis are less than a decade apart."""
    gaps = [math.inf, *(following - value for value, following in pairwise(values)), math.inf]
    decades = [10.0 ** math.floor(math.log10(value) + 1e-9) for value in values]
    return [
        tick_text(value, min(decade, *gaps[index : index + 2]))
        for index, (value, decade) in enumerate(zip(values, decades, strict=True))
    ]


def tick_text(value: float, step: float) -> str:
    """Format a tick value with just enough digits to distinguish neighboring ticks, which are
    `step` apart."""
    if value == 0:
        return "0"
    magnitude = max(abs(value), abs(step))
    if magnitude >= 1e9 or magnitude < 1e-4 or step <= 0:
        return f"{value:.3g}".replace("-", "−")
    precision = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(round(step, precision) - step) > 1e-6 * step:  # for example a step of 2.5
        precision += 1
    return f"{value:,.{precision}f}".replace("-", "−")


def format_clock(time_s: float, step: float) -> str:
    """Format a time in seconds as clock time, such as `0:30` or `1:02:05`. If the tick spacing
    `step` is shorter than a second, decimals are included, such as `0:12.5`."""
    if time_s < 0:
        return f"−{format_clock(-time_s, step)}"
    precision = 0 if step >= 1 else min(3, max(1, math.ceil(-math.log10(step) - 1e-9)))
    scaled_time = round(time_s * 10**precision)
    whole_seconds, fraction = divmod(scaled_time, 10**precision)
    hours, minutes, seconds_part = whole_seconds // 3600, whole_seconds // 60 % 60, whole_seconds % 60
    text = f"{hours}:{minutes:02}:{seconds_part:02}" if hours else f"{minutes}:{seconds_part:02}"
    return f"{text}.{fraction:0{precision}}" if precision else text
