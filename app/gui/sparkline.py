"""Small line of the values of earlier runs, without axes: as a widget and in the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPolygonF
from PySide6.QtWidgets import QApplication, QSizePolicy, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from app.gui.theme import Theme, ThemeController

SPARKLINE_ROLE = Qt.ItemDataRole.UserRole + 1
"""Item role that returns the values of a sparkline as a tuple of floats, oldest first."""
_WIDTH_CHARACTERS = 12
_DOT_PX = 2.5
_MARGIN_PX = 4.0
_MAX_CACHED_LINES = 2_000


def build_points(values: Sequence[float], rect: QRectF) -> list[QPointF]:
    """Return the points of a line that fills `rect`, in pixels. Equal values are in the middle."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    step_px = rect.width() / max(1, len(values) - 1)
    return [
        QPointF(
            rect.left() + index * step_px if len(values) > 1 else rect.center().x(),
            rect.center().y() if high == low else rect.bottom() - (value - low) / (high - low) * rect.height(),
        )
        for index, value in enumerate(values)
    ]


@lru_cache(_MAX_CACHED_LINES)
def _build_line(values: tuple[float, ...], width_px: float, height_px: float) -> QPolygonF:
    margins_px = 2 * _MARGIN_PX
    return QPolygonF(
        build_points(values, QRectF(_MARGIN_PX, _MARGIN_PX, width_px - margins_px, height_px - margins_px))
    )


def draw_sparkline(painter: QPainter, rect: QRectF, values: Sequence[float], color: QColor) -> None:
    """Draw a line through the values, with a dot at the last."""
    if not values:
        return
    line = _build_line(tuple(values), rect.width(), rect.height())
    painter.save()
    painter.translate(rect.topLeft())
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(color)
    painter.drawPolyline(line)
    painter.setBrush(color)
    painter.drawEllipse(line.last(), _DOT_PX, _DOT_PX)
    painter.restore()


def _line_color(theme: Theme) -> QColor:
    return QColor(theme.series[0])


class Sparkline(QWidget):
    """Sparkline as a widget. The text beside it states the numbers, so that it has no accessible
    text of its own."""

    def __init__(self, values: Sequence[float], theme_controller: ThemeController) -> None:
        super().__init__()
        self.values, self._theme_controller = tuple(values), theme_controller
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(_WIDTH_CHARACTERS * metrics.averageCharWidth(), round(1.6 * metrics.height()))

    def paintEvent(self, _event: QPaintEvent) -> None:
        with QPainter(self) as painter:
            draw_sparkline(painter, QRectF(self.rect()), self.values, _line_color(self._theme_controller.theme))


class SparklineDelegate(QStyledItemDelegate):
    """Delegate that draws the sparkline of a cell in place of its text. The text of the cell is read
    by screen readers."""

    def __init__(self, parent: QWidget, theme_controller: ThemeController) -> None:
        super().__init__(parent)
        self._theme_controller = theme_controller

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        widget = self.parent()
        style = widget.style() if isinstance(widget, QWidget) else QApplication.style()
        style.drawPrimitive(QStyle.PrimitiveElement.PE_PanelItemViewItem, option, painter)
        values: tuple[float, ...] = index.data(SPARKLINE_ROLE) or ()
        is_selected = bool(option.state & QStyle.StateFlag.State_Selected)
        theme = self._theme_controller.theme
        color = QColor(theme.on_accent) if is_selected else _line_color(theme)
        draw_sparkline(painter, QRectF(option.rect), values, color)

    def sizeHint(self, option: QStyleOptionViewItem, _index: QModelIndex | QPersistentModelIndex) -> QSize:
        return QSize(_WIDTH_CHARACTERS * option.fontMetrics.averageCharWidth(), option.fontMetrics.height())
