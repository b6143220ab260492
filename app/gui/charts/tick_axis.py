"""Painted axis with ticks, below or to the left of the plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter

from app.gui.charts.axes import (
    Axis,
    format_clock,
    linear_ticks,
    log_tick_texts,
    log_ticks,
    percentile_text,
    percentile_ticks,
    tick_text,
)
from app.gui.charts.pens import solid_pen

_TICK_PX, _TEXT_GAP_PX = 4, 4
_MAX_Y_TICKS, _MAX_X_TICKS = 6, 12
_ROWS_PER_TICK = 2.0
_EDGE_PX = 60
_WIDTH_STEP_PX = 8.0
_MAX_NAME_PX = 260.0


class TickAxis(pg.AxisItem):
    """Axis item of a plot. On a logarithmic axis, positions are exponents. The name of the bottom
    axis is drawn at its right end."""

    range: tuple[float, float]

    def __init__(self, axis: Axis, side: Literal["left", "bottom"], box: pg.ViewBox) -> None:
        self.axis, self.side = axis, side
        self.is_clock = False
        self.has_labels = True
        self._names: tuple[str, ...] = ()
        self._fixed_width: float | None = None
        self._font = QFont()
        super().__init__(side, maxTickLength=_TICK_PX)
        self.enableAutoSIPrefix(False)
        self.setStyle(autoExpandTextSpace=False, tickTextOffset=_TEXT_GAP_PX if side == "left" else 0)
        self.setFlag(self.GraphicsItemFlag.ItemIsFocusable, False)
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)
        self.linkToView(box)

    def apply_theme(self, color: str, font: QFont) -> None:
        self._font = font
        self.setTickFont(font)
        for setter in (self.setPen, self.setTickPen, self.setTextPen):
            setter(solid_pen(color))
        self.setStyle(hideOverlappingLabels=round(self._metrics().height()) if self.side == "left" else _EDGE_PX)
        self._fit_size()

    def linkedViewChanged(self, view: pg.ViewBox, newRange: Any = None) -> None:  # noqa: N803 - pyqtgraph's name
        super().linkedViewChanged(view, newRange)
        self._fit_size()

    def set_width(self, width: float | None) -> None:
        """Fix the width of a left axis, in pixels, so that charts are aligned. `None` fits the
        width to the labels of the axis."""
        if width != self._fixed_width:
            self._fixed_width = width
            self._fit_size()

    def set_labels_visible(self, is_visible: bool) -> None:
        self.has_labels = is_visible
        self.setStyle(showValues=is_visible)
        self._fit_size()

    def set_names(self, names: Sequence[str]) -> None:
        """Label the positions 0, −1, −2 … with names instead of numbers, from the top of a left
        axis."""
        self._names = tuple(names)
        self._fit_size()
        self.picture = None
        self.update()

    def preferred_width(self) -> float:
        """Return the width that the labels of a left axis need, in pixels. The width is rounded up
        in steps, so that the plot does not jitter."""
        texts = self.format_ticks(self.tick_positions())
        max_width = max((self._metrics().horizontalAdvance(text) for text in texts), default=0.0)
        return _WIDTH_STEP_PX * math.ceil((max_width + _TICK_PX + _TEXT_GAP_PX + 2) / _WIDTH_STEP_PX)

    def tick_positions(self) -> list[float]:
        low, high = self.range
        if self._names:
            return [-float(index) for index in range(len(self._names))]
        metrics = self._metrics()
        if self.axis.is_percentile:
            tick_px = metrics.horizontalAdvance("p99.999") + _TEXT_GAP_PX
            return percentile_ticks(self.axis, low, high, tick_px / max(self._length(), 1.0) * (high - low))
        if self.side == "left":
            max_ticks = min(_MAX_Y_TICKS, int(self._length() / (_ROWS_PER_TICK * metrics.height())))
        else:
            max_ticks = min(_MAX_X_TICKS, int(self._length() / (metrics.horizontalAdvance("0,000,000") + 12)))
        if self.axis.is_log:
            return log_ticks(low, high, max(max_ticks, 2))
        return linear_ticks(low, high, max(max_ticks, 2), is_clock=self.is_clock, is_count=self.axis.is_count)

    def format_ticks(self, positions: Sequence[float]) -> list[str]:
        if self._names:
            return [
                self._metrics().elidedText(self._names[round(-position)], Qt.TextElideMode.ElideRight, _MAX_NAME_PX)
                for position in positions
            ]
        if self.axis.is_percentile:
            return [percentile_text(self.axis.from_view(position)) for position in positions]
        if self.axis.is_log:
            return log_tick_texts([10.0**position for position in positions])
        step = min((next_position - position for position, next_position in pairwise(positions)), default=1.0)
        format_tick = format_clock if self.is_clock else tick_text
        return [format_tick(value, step) for value in positions]

    def format_value(self, value: float) -> str:
        """Format a value on the axis, with a precision of one pixel."""
        low, high = self.range
        if self.axis.is_percentile:
            return percentile_text(value)
        if self.axis.is_log:
            return tick_text(value, 10.0 ** (math.floor(math.log10(value)) - 2)) if value > 0 else str(value)
        step = max((high - low) / max(self._length(), 100.0), 1e-12)
        step = 10.0 ** math.floor(math.log10(step) + 1e-9)
        return format_clock(value, step) if self.is_clock else tick_text(value, step)

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: ARG002
        return [(1.0, self.tick_positions())]

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:  # noqa: ARG002
        return self.format_ticks(values)

    def generateDrawSpecs(self, painter: QPainter) -> Any:
        """Add the name of the bottom axis, and drop tick labels that would overlap the name."""
        specs = super().generateDrawSpecs(painter)
        if specs is None or self.side == "left" or not self.has_labels:
            return specs
        line, ticks, texts = specs
        name, area, metrics = self.axis.label if self.is_clock else self.axis.text, self.rect(), self._metrics()
        width = metrics.horizontalAdvance(name)
        rect = QRectF(area.right() + 8.0 - width, area.top() + _TICK_PX, width, 0.8 * metrics.height())
        texts = [text for text in texts if text[0].right() <= rect.left() - 10.0]
        flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop
        return line, ticks, [*texts, (rect, flags | Qt.TextFlag.TextDontClip, name)]

    def _fit_size(self) -> None:
        if self.side == "left":
            self.setWidth(self.preferred_width() if self._fixed_width is None else self._fixed_width)
        else:
            self.setHeight(_TICK_PX + self._metrics().height() * (1.0 if self.has_labels else 0.4))

    def _length(self) -> float:
        box = self.linkedView()
        return float(box.height() if self.side == "left" else box.width())

    def _metrics(self) -> QFontMetricsF:
        return QFontMetricsF(self._font)
