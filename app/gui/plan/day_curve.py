"""Daily traffic as a curve of 24 points, editable with mouse and keyboard."""

from __future__ import annotations

from typing import NamedTuple

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QColor,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.gui.formatting import format_number
from app.gui.plan.presenter import create_merge_id
from app.gui.theme import ThemeController

HOURS = 24
_HEADROOM_FACTOR = 1.15
_MEDIUM_STEP, _FINE_STEP, _COARSE_STEP = 0.05, 0.01, 0.25
_HANDLE_RADIUS_PX = 3.5
_MAX_CAPACITY_RATIO = 1.6
"""Highest capacity, relative to the peak, for which the y axis is extended."""
_LABELED_HOURS = (0, 6, 12, 18)


class CapacityLine(NamedTuple):
    """Capacity of a number of instances in req/s, shown across the day. `position` is that of the
    label, from 0 at the left edge to 1 at the right edge."""

    label: str
    rate_per_s: float
    is_planned: bool
    position: float


class DayCurve(QWidget):
    """Editable curve of the request rate (req/s) for each hour of the day.

    The left and right arrow keys select an hour. Up and down change the rate of the selected hour
    by 5 % of the peak (with Shift by 1 %), Page Up and Page Down by 25 %.

    `rates_requested` is emitted with the 24 requested rates and a merge ID; edits with the same ID
    are merged into one undo step. The curve does not change until the new rates are set on the
    widget.
    """

    rates_requested = Signal(object, int)
    hour_selected = Signal(int)

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._rates: tuple[float, ...] = (1.0,) * HOURS
        self._axis_max = _HEADROOM_FACTOR
        self._merge_id: int | None = None
        self._capacity_lines: tuple[CapacityLine, ...] = ()
        self.selected_hour = 12
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Requests by hour of the day")
        self.setToolTip("Drag a point, or select an hour with ← and → and change it with ↑ and ↓ (Shift: fine steps).")
        theme_controller.changed.connect(self._repaint)

    def sizeHint(self) -> QSize:
        line_height = self.fontMetrics().height()
        return QSize(14 * line_height, 9 * line_height)

    def minimumSizeHint(self) -> QSize:
        line_height = self.fontMetrics().height()
        return QSize(10 * line_height, 8 * line_height)

    def rates(self) -> tuple[float, ...]:
        return self._rates

    def set_rates(self, rates: tuple[float, ...]) -> None:
        self._rates = rates
        self._update_axis()
        self._update_description()
        self.update()

    def set_capacity_lines(self, lines: tuple[CapacityLine, ...]) -> None:
        """Draw the capacity of the fleet across the day. A line far above the peak is not drawn,
        but listed in the description."""
        self._capacity_lines = lines
        self._update_axis()
        self._update_description()
        self.update()

    def visible_capacity_lines(self) -> tuple[CapacityLine, ...]:
        """Return the lines within the y axis."""
        return tuple(line for line in self._capacity_lines if line.rate_per_s <= self._axis_max)

    def _update_axis(self) -> None:
        """Set the maximum of the y axis, unless a point is being dragged."""
        if self._merge_id is None:
            peak = max(max(self._rates), 1e-9)
            near_rates = [
                line.rate_per_s for line in self._capacity_lines if line.rate_per_s <= _MAX_CAPACITY_RATIO * peak
            ]
            self._axis_max = _HEADROOM_FACTOR * max([peak, *near_rates])

    def select_hour(self, hour: int) -> None:
        self.selected_hour = min(max(hour, 0), HOURS - 1)
        self._update_description()
        self.hour_selected.emit(self.selected_hour)
        self.update()

    def request_rate(self, hour: int, rate: float, merge_id: int = -1) -> None:
        """Request a new rate for one hour; the other hours keep their current rates."""
        rates = list(self._rates)
        rates[hour] = max(0.0, float(f"{rate:.3g}"))
        if max(rates) > 0 and tuple(rates) != self._rates:
            self.rates_requested.emit(tuple(rates), merge_id)

    def format_hour(self) -> str:
        """Format the selected hour and its request rate."""
        rate, peak = self._rates[self.selected_hour], max(self._rates)
        share = 100 * rate / peak if peak > 0 else 0.0
        return f"{self.selected_hour:02}:00 – {format_number(rate)} req/s, {share:.0f} % of peak"

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, peak = event.key(), max(self._rates)
        is_fine_step = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        steps_by_key = {
            Qt.Key.Key_Up: _FINE_STEP if is_fine_step else _MEDIUM_STEP,
            Qt.Key.Key_Down: -_FINE_STEP if is_fine_step else -_MEDIUM_STEP,
            Qt.Key.Key_PageUp: _COARSE_STEP,
            Qt.Key.Key_PageDown: -_COARSE_STEP,
        }
        hours_by_key = {
            Qt.Key.Key_Left: self.selected_hour - 1,
            Qt.Key.Key_Right: self.selected_hour + 1,
            Qt.Key.Key_Home: 0,
            Qt.Key.Key_End: HOURS - 1,
        }
        if key in steps_by_key:
            self.request_rate(self.selected_hour, self._rates[self.selected_hour] + steps_by_key[Qt.Key(key)] * peak)
        elif key in hours_by_key:
            self.select_hour(hours_by_key[Qt.Key(key)])
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._merge_id = create_merge_id()
            self.select_hour(self._find_hour(event.position()))
            self._drag(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._merge_id is None:
            self.setCursor(Qt.CursorShape.PointingHandCursor)
        else:
            self._drag(event.position())

    def mouseReleaseEvent(self, _: QMouseEvent) -> None:
        self._merge_id = None
        self.set_rates(self._rates)

    def _drag(self, position: QPointF) -> None:
        area = self._plot_area()
        share = (area.bottom() - position.y()) / max(area.height(), 1.0)
        rate = min(max(share, 0.0), 1.0) * self._axis_max
        assert self._merge_id is not None
        self.request_rate(self.selected_hour, rate, self._merge_id)

    def _find_hour(self, position: QPointF) -> int:
        area = self._plot_area()
        return round((position.x() - area.left()) / max(area.width(), 1.0) * (HOURS - 1))

    def _plot_area(self) -> QRectF:
        metrics = self.fontMetrics()
        left = metrics.horizontalAdvance(format_number(self._axis_max)) + 8
        return QRectF(left, metrics.height() * 0.6, self.width() - left - 10, self.height() - 2.1 * metrics.height())

    def point_position(self, hour: int) -> QPointF:
        """Return the position at which the point of an hour is drawn."""
        area = self._plot_area()
        x = area.left() + hour / (HOURS - 1) * area.width()
        return QPointF(x, area.bottom() - self._rates[hour] / self._axis_max * area.height())

    def paintEvent(self, _: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_axes(painter)
        self._paint_line(painter)
        self._paint_capacity(painter)
        painter.end()

    def _paint_axes(self, painter: QPainter) -> None:
        theme, area, metrics = self._theme_controller.theme, self._plot_area(), self.fontMetrics()
        peak = max(self._rates)
        for share in (0.0, 0.5, 1.0):
            y = area.bottom() - share * peak / self._axis_max * area.height()
            painter.setPen(QPen(QColor(theme.grid), 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(QColor(theme.muted))
            text_rect = QRectF(0, y - metrics.height() / 2, area.left() - 6, metrics.height())
            painter.drawText(
                text_rect,
                int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
                format_number(share * peak) if share else "0",
            )
        for hour in _LABELED_HOURS:
            text = f"{hour}:00"
            x = area.left() + hour / (HOURS - 1) * area.width()
            width = metrics.horizontalAdvance(text)
            left = min(max(x - width / 2, area.left() - 4), self.width() - width - 1)
            painter.drawText(QPointF(left, area.bottom() + metrics.ascent() + 6), text)

    def _paint_line(self, painter: QPainter) -> None:
        theme, area = self._theme_controller.theme, self._plot_area()
        points = [self.point_position(hour) for hour in range(HOURS)]
        fill_color = QColor(theme.series[0])
        fill_color.setAlpha(40)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill_color)
        painter.drawPolygon(
            QPolygonF([QPointF(area.left(), area.bottom()), *points, QPointF(area.right(), area.bottom())])
        )
        painter.setPen(QPen(QColor(theme.series[0]), 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(points))
        painter.setBrush(QColor(theme.paper))
        for point in points:
            painter.drawEllipse(point, _HANDLE_RADIUS_PX, _HANDLE_RADIUS_PX)
        outline_color = QColor(theme.accent if self.hasFocus() else theme.ink)
        painter.setPen(QPen(outline_color, 2))
        painter.setBrush(QColor(theme.series[0]))
        painter.drawEllipse(points[self.selected_hour], 1.8 * _HANDLE_RADIUS_PX, 1.8 * _HANDLE_RADIUS_PX)

    def _paint_capacity(self, painter: QPainter) -> None:
        theme, area, metrics = self._theme_controller.theme, self._plot_area(), self.fontMetrics()
        for line in self.visible_capacity_lines():
            y = area.bottom() - line.rate_per_s / self._axis_max * area.height()
            pen = QPen(QColor(theme.ink if line.is_planned else theme.muted), 1.5 if line.is_planned else 1)
            pen.setStyle(Qt.PenStyle.SolidLine if line.is_planned else Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            width = metrics.horizontalAdvance(line.label)
            left = area.left() + line.position * (area.width() - width)
            text_rect = QRectF(left - 1, y - 0.8 * metrics.height(), width + 2, 0.8 * metrics.height())
            background = QColor(theme.paper)
            background.setAlpha(190)
            painter.fillRect(text_rect, background)
            painter.drawText(QPointF(left, y - 0.15 * metrics.height()), line.label)

    def format_capacity(self) -> str:
        """Format the capacity lines, such as `N−1: 885 req/s`."""
        return ", ".join(f"{line.label}: {format_number(line.rate_per_s)} req/s" for line in self._capacity_lines)

    def _update_description(self) -> None:
        self.setAccessibleDescription(
            "; capacity ".join(text for text in (self.format_hour(), self.format_capacity()) if text)
        )
        if self.hasFocus():
            QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.DescriptionChanged))

    def _repaint(self, _: object) -> None:
        self.update()
