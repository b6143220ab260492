"""What an axis says, and its ticks: plain numbers in the axis's own unit, or powers of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtGui import QFont, QFontMetricsF

from app.gui.formatting import elapsed

Floats = npt.NDArray[np.float64]

_MOST_TICKS = 8
_TIGHTEST_PX = 34
_STEPS = (1.0, 2.0, 5.0, 10.0)
_CLOCK_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
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
    """Round values between the ends, `most` at most."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return []
    step = _step(span / max(most, 1), is_clock=is_clock)
    first = math.ceil(low / step - 1e-9)
    return [place * step for place in range(first, math.floor(high / step + 1e-9) + 1)]


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
    """With the digits that tell it from its neighbours, and no more."""
    if value == 0:
        return "0"
    size = max(abs(value), abs(step))
    if size >= 1e9 or size < 1e-4:
        return f"{value:.3g}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{digits}f}"


class TickAxis(pg.AxisItem):
    """pyqtgraph's axis with our ticks. Its places are exponents where the axis is logarithmic."""

    def __init__(self, axis: Axis, orientation: str) -> None:
        super().__init__(orientation, maxTickLength=-4)
        self.axis = axis
        self.is_clock = False
        self._font = QFont()
        self.enableAutoSIPrefix(False)
        self.setStyle(autoExpandTextSpace=True, autoReduceTextSpace=True, hideOverlappingLabels=True)

    def set_font(self, font: QFont) -> None:
        self._font = font
        self.setTickFont(font)

    def wanted_width(self) -> float:
        """That its tick labels need, with the room between them and the plot."""
        low, high = self.range
        texts = self.texts(self.places(low, high, self.size().height()))
        metrics = QFontMetricsF(self._font)
        return max((metrics.horizontalAdvance(text) for text in texts), default=0.0) + 12.0

    def places(self, low: float, high: float, size_px: float) -> list[float]:
        metrics = QFontMetricsF(self._font)
        is_upright = self.orientation in ("left", "right")
        room = 2.2 * metrics.height() if is_upright else metrics.horizontalAdvance("0,000,000")
        most = int(min(_MOST_TICKS if is_upright else 12, max(2, size_px / max(room, _TIGHTEST_PX))))
        if self.axis.is_log:
            return log_ticks(low, high, most)
        return linear_ticks(low, high, most, is_clock=self.is_clock)

    def texts(self, places: Sequence[float]) -> list[str]:
        if self.axis.is_log:
            values = [10.0**place for place in places]
            return [tick_text(value, 10.0 ** math.floor(math.log10(value) + 1e-9)) for value in values]
        step = min((after - before for before, after in pairwise(places)), default=1.0)
        if self.is_clock and step >= 1 and places and max(places) >= 120:
            return [f"−{elapsed(-value)}" if value < 0 else elapsed(value) for value in places]
        return [tick_text(value, step).replace("-", "−") for value in places]

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
        return [(max(high - low, 1e-300), self.places(low, high, size))]

    def tickStrings(self, values: Sequence[float], *_: float) -> list[str]:
        return self.texts(list(values))
