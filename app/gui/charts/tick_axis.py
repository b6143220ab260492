"""An axis as it is painted beside or under the plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter
from PySide6.QtWidgets import QGraphicsWidget

from app.gui.charts.axes import Axis, clock_text, linear_ticks, log_ticks, tick_text
from app.gui.charts.pens import solid_pen

_TICK_PX = 4.0
_TEXT_GAP_PX = 4.0
_MOST_UP, _MOST_ACROSS = 6, 12
_ROWS_A_TICK = 2.0
_EDGE_PX = 60.0
_WIDTH_STEP_PX = 8.0


class TickAxis(QGraphicsWidget):
    """Places are exponents where the axis is logarithmic. The lower axis has its name at its right end."""

    def __init__(self, axis: Axis, side: Literal["left", "bottom"]) -> None:
        super().__init__()
        self.axis, self.side = axis, side
        self.range = (0.0, 1.0)
        self.is_clock = False
        self.has_texts = True
        self._width: float | None = None
        self._font, self._colour = QFont(), QColor("gray")
        self.setFlag(self.GraphicsItemFlag.ItemIsFocusable, False)
        self.setAcceptedMouseButtons(Qt.MouseButton.NoButton)

    def put_on(self, colour: str, font: QFont) -> None:
        self._colour, self._font = QColor(colour), font
        self._fit_size()

    def set_range(self, low: float, high: float) -> None:
        if (low, high) == self.range:
            return
        self.range = (low, high)
        self._fit_size()

    def set_width(self, width: float | None) -> None:
        """None fits its own texts."""
        if width != self._width:
            self._width = width
            self._fit_size()

    def show_texts(self, wanted: bool) -> None:
        self.has_texts = wanted
        self._fit_size()

    def wanted_width(self) -> float:
        """Of a left axis; in steps, so that the plot does not tremble as numbers change."""
        texts = self.texts(self.places(self.size().height()))
        widest = max((self._metrics().horizontalAdvance(text) for text in texts), default=0.0)
        return _WIDTH_STEP_PX * math.ceil((widest + _TICK_PX + _TEXT_GAP_PX + 2) / _WIDTH_STEP_PX)

    def places(self, size_px: float) -> list[float]:
        low, high = self.range
        metrics = self._metrics()
        if self.side == "left":
            most = min(_MOST_UP, int(size_px / (_ROWS_A_TICK * metrics.height())))
        else:
            most = min(_MOST_ACROSS, int(size_px / (metrics.horizontalAdvance("0,000,000") + 12)))
        if self.axis.is_log:
            return log_ticks(low, high, max(most, 2))
        return linear_ticks(low, high, max(most, 2), is_clock=self.is_clock)

    def texts(self, places: Sequence[float]) -> list[str]:
        if self.axis.is_log:
            values = [10.0**place for place in places]
            return [tick_text(value, 10.0 ** math.floor(math.log10(value) + 1e-9)) for value in values]
        step = min((after - before for before, after in pairwise(places)), default=1.0)
        write = clock_text if self.is_clock else tick_text
        return [write(value, step) for value in places]

    def text_of(self, value: float) -> str:
        """A value of the axis, as fine as a pixel tells it."""
        low, high = self.range
        length = self.size().width() if self.side == "bottom" else self.size().height()
        if self.axis.is_log:
            return tick_text(value, 10.0 ** (math.floor(math.log10(value)) - 2)) if value > 0 else str(value)
        step = max((high - low) / max(length, 100.0), 1e-12)
        step = 10.0 ** math.floor(math.log10(step) + 1e-9)
        return clock_text(value, step) if self.is_clock else tick_text(value, step)

    def boundingRect(self) -> QRectF:
        """Beyond its place: the first and the last text reach over the plot's corners."""
        half = self._metrics().height()
        if self.side == "left":
            return self.rect().adjusted(0, -half, 1, half)
        return self.rect().adjusted(-_EDGE_PX, -1, _EDGE_PX, 0)

    def paint(self, painter: QPainter, *_: object) -> None:
        painter.setFont(self._font)
        painter.setPen(solid_pen(self._colour))
        if self.side == "left":
            self._paint_left(painter)
        else:
            self._paint_bottom(painter)

    def _paint_left(self, painter: QPainter) -> None:
        low, high = self.range
        area, metrics = self.rect(), self._metrics()
        painter.drawLine(area.topRight(), area.bottomRight())
        places = self.places(area.height())
        for place, text in zip(places, self.texts(places), strict=True):
            row = area.bottom() - (place - low) / (high - low) * area.height()
            painter.drawLine(QPointF(area.right() - _TICK_PX, row), QPointF(area.right(), row))
            left = area.right() - _TICK_PX - _TEXT_GAP_PX - metrics.horizontalAdvance(text)
            painter.drawText(QPointF(left, row + metrics.capHeight() / 2), text)

    def _paint_bottom(self, painter: QPainter) -> None:
        low, high = self.range
        area, metrics = self.rect(), self._metrics()
        painter.drawLine(area.topLeft(), area.topRight())
        places = self.places(area.width())
        base = area.top() + _TICK_PX + metrics.ascent()
        end = area.right() + 8.0
        if self.has_texts:
            name = self.axis.label if self.is_clock else self.axis.text
            width = metrics.horizontalAdvance(name)
            painter.drawText(QPointF(end - width, base), name)
            end -= width + 10.0
        for place, text in zip(places, self.texts(places), strict=True):
            column = area.left() + (place - low) / (high - low) * area.width()
            painter.drawLine(QPointF(column, area.top()), QPointF(column, area.top() + _TICK_PX))
            half = metrics.horizontalAdvance(text) / 2
            if self.has_texts and column + half <= end:
                painter.drawText(QPointF(column - half, base), text)

    def _fit_size(self) -> None:
        self.prepareGeometryChange()
        if self.side == "left":
            width = self.wanted_width() if self._width is None else self._width
            if width != self.minimumWidth():
                self.setMinimumWidth(width)
                self.setMaximumWidth(width)
        else:
            height = _TICK_PX + self._metrics().height() * (1.0 if self.has_texts else 0.4)
            if height != self.minimumHeight():
                self.setMinimumHeight(height)
                self.setMaximumHeight(height)
        self.update()

    def resizeEvent(self, event: object) -> None:
        super().resizeEvent(event)  # type: ignore[arg-type]  # pyqtgraph gives none
        if self.side == "left" and self._width is None:
            self._fit_size()

    def _metrics(self) -> QFontMetricsF:
        return QFontMetricsF(self._font)
