"""What an axis says, and where its ticks stand: plain numbers in its own unit, or round ones a decade."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_CLOCK_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
_TRIES = 4
_LOG_MANTISSAS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0))


class Axis(msgspec.Struct, frozen=True):
    """`from_zero`: a linear axis of values that are none below zero starts there."""

    label: str
    unit: str = ""
    is_log: bool = False
    from_zero: bool = True

    @property
    def text(self) -> str:
        """As a heading says it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def to_view(self, values: npt.ArrayLike) -> Floats:
        """Where values stand on the axis; what has no place there is NaN."""
        given = np.asarray(values, dtype=np.float64)
        if not self.is_log:
            return given
        placed = np.full(given.shape, np.nan)
        np.log10(given, out=placed, where=given > 0)
        return placed

    def from_view(self, place: float) -> float:
        return float(10.0**place) if self.is_log else place


def linear_ticks(low: float, high: float, most: int, *, is_clock: bool = False) -> list[float]:
    """Round values between the ends: `most` at most, but two where there are any, as one alone tells no scale."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return []
    ticks: list[float] = []
    for tried in range(max(most, 1), max(most, 1) + _TRIES):
        step = _step(span / tried, is_clock=is_clock)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = [place * step for place in range(first, last + 1)]
        if len(ticks) > 1:
            break
    return ticks


def _step(least: float, *, is_clock: bool) -> float:
    if is_clock and _CLOCK_STEPS[0] <= least <= _CLOCK_STEPS[-1]:
        return next(step for step in _CLOCK_STEPS if step >= least)
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in _STEPS if step * power >= least * (1 - 1e-9))


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Exponents of round values between the exponents `low` and `high`."""
    if high - low < 0.7:
        inner = linear_ticks(10.0**low, 10.0**high, most)
        return [math.log10(value) for value in inner if value > 0]
    decades = range(math.floor(low), math.ceil(high) + 1)
    best: list[float] = []
    for mantissas in _LOG_MANTISSAS:
        places = [decade + math.log10(mantissa) for decade in decades for mantissa in mantissas]
        inside = [place for place in places if low - 1e-9 <= place <= high + 1e-9]
        if len(inside) > most and best:
            break
        best = inside
    if len(best) > most:
        stride = math.ceil(len(best) / most)
        best = [place for place in best if round(place) % stride == 0]
    return best


def tick_text(value: float, step: float) -> str:
    """With the digits that tell it from its neighbours a `step` away, and no more."""
    if value == 0:
        return "0"
    size = max(abs(value), abs(step))
    if size >= 1e9 or size < 1e-4 or step <= 0:
        return f"{value:.3g}".replace("-", "−")
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(round(step, digits) - step) > 1e-6 * step:  # as in 2.5
        digits += 1
    return f"{value:,.{digits}f}".replace("-", "−")


def clock_text(seconds: float, step: float) -> str:
    """As on a clock: 0:30, 1:02:05, and 0:12.5 where the step is short."""
    if seconds < 0:
        return f"−{clock_text(-seconds, step)}"
    digits = 0 if step >= 1 else min(3, max(1, math.ceil(-math.log10(step) - 1e-9)))
    ticks = round(seconds * 10**digits)
    whole, rest = divmod(ticks, 10**digits)
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    text = f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
    return f"{text}.{rest:0{digits}}" if digits else text
