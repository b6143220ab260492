"""Names of lines at their right ends, in a column beside the plot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter

from app.gui.charts.axes import Axis
from app.gui.charts.pens import series_color
from app.gui.charts.series import Series
from app.gui.charts.tick_axis import TickAxis
from app.gui.theme import Theme

_MIN_LINES, _MAX_LINES = 2, 4
_MAX_END_DISTANCE = 0.1
"""Largest distance between the ends of two lines, as a share of the x range, at which a column of
names still belongs to the ends."""
_GAP_PX, _MAX_WIDTH_PX, _WIDTH_STEP_PX = 6.0, 110.0, 8.0
_MIN_PLOT_RATIO = 4.0
"""The column takes at most this part of the width of the plot."""


class LineEnd(msgspec.Struct, frozen=True):
    """End of a line, in view coordinates."""

    label: str
    style_index: int
    y: float


def can_label_ends(series: Sequence[Series], x_axis: Axis) -> bool:
    """Return whether names at the ends identify all lines: they are few, and end together."""
    if not _MIN_LINES <= len(series) <= _MAX_LINES or any(one.kind != "line" or not one.is_sorted for one in series):
        return False
    masks = [np.isfinite(one.y) for one in series]
    if not all(mask.any() for mask in masks):
        return False
    first = min(float(x_axis.to_view(one.x[mask.argmax()])) for one, mask in zip(series, masks, strict=True))
    last = [
        float(x_axis.to_view(one.x[len(mask) - 1 - mask[::-1].argmax()]))
        for one, mask in zip(series, masks, strict=True)
    ]
    return max(last) - min(last) <= _MAX_END_DISTANCE * (max(last) - first)


def find_line_ends(
    series: Sequence[Series], x_axis: Axis, y_axis: Axis, x_range: tuple[float, float]
) -> tuple[LineEnd, ...]:
    """Return the last visible sample of each line, for an x range in view coordinates. A line that
    has none is left out."""
    ends = []
    for one in series:
        low, high = (x_axis.from_view(end) for end in x_range)
        stop = int(np.searchsorted(one.x, high, side="right"))
        start = int(np.searchsorted(one.x, low))
        finite_indices = np.flatnonzero(np.isfinite(one.y[start:stop]))
        if len(finite_indices):
            y = float(y_axis.to_view(one.y[start + finite_indices[-1]]))
            if math.isfinite(y):
                ends.append(LineEnd(one.label, one.style_index, y))
    return tuple(ends)


def spread_rows(rows: Sequence[float], height: float, distance: float) -> list[float]:
    """Return the centers of texts, in the order of `rows`, at least `distance` apart and within
    `height`, as close to `rows` as the space allows."""
    order = sorted(range(len(rows)), key=lambda index: rows[index])
    spread: dict[int, float] = {}
    previous = -math.inf
    for index in order:
        previous = max(rows[index], previous + distance, distance / 2)
        spread[index] = previous
    limit = height - distance / 2
    for index in reversed(order):
        spread[index] = min(spread[index], limit)
        limit = spread[index] - distance
    return [spread[index] for index in range(len(rows))]


class LineLabels(pg.GraphicsWidget):
    """Column of names beside a plot, in the colors of their lines. It has no width without names."""

    def __init__(self, x_axis: TickAxis, y_axis: TickAxis, theme: Theme) -> None:
        super().__init__()
        self._x_axis, self._y_axis, self.theme = x_axis, y_axis, theme
        self._series: tuple[Series, ...] = ()
        self._font = QFont()
        self._width = -1.0
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        self.set_width(0.0)

    @property
    def is_shown(self) -> bool:
        return bool(self._series)

    def apply_theme(self, theme: Theme, font: QFont) -> None:
        self.theme, self._font = theme, font
        self.update()

    def set_series(self, series: Sequence[Series]) -> None:
        """Name these lines; none without series."""
        self._series = tuple(series)
        self.update()

    def preferred_width(self, available_px: float) -> float:
        """Return the width that the names need, in pixels, rounded up in steps."""
        if not self._series:
            return 0.0
        text_px = max(self._metrics().horizontalAdvance(one.label) for one in self._series) + _GAP_PX
        max_px = min(_MAX_WIDTH_PX * self._metrics().height() / 14, available_px / _MIN_PLOT_RATIO)
        return _WIDTH_STEP_PX * math.ceil(min(text_px, max_px) / _WIDTH_STEP_PX)

    def set_width(self, width: float) -> None:
        if width != self._width:
            self._width = width
            self.setFixedWidth(width)

    def paint(self, painter: QPainter, *_: object) -> None:
        ends = find_line_ends(self._series, self._x_axis.axis, self._y_axis.axis, self._x_axis.range)
        low, high = self._y_axis.range
        area, metrics = self.rect(), self._metrics()
        visible_ends = [end for end in ends if low <= end.y <= high]
        rows = [area.height() * (1 - (end.y - low) / (high - low)) for end in visible_ends]
        painter.setFont(self._font)
        text_px = area.width() - _GAP_PX
        for end, row in zip(visible_ends, spread_rows(rows, area.height(), metrics.height() - 2), strict=True):
            painter.setPen(series_color(self.theme, end.style_index))
            baseline = row - metrics.height() / 2 + metrics.ascent()
            text = metrics.elidedText(end.label, Qt.TextElideMode.ElideRight, text_px)
            painter.drawText(QPointF(_GAP_PX, baseline), text)

    def _metrics(self) -> QFontMetricsF:
        return QFontMetricsF(self._font)
