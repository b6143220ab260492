"""Base class of plot layers with their own painting code in pixel coordinates."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QFont, QPainter

from app.gui.charts.tick_axis import TickAxis
from app.gui.theme import Theme


class Layer(pg.UIGraphicsItem):
    """Layer that covers the whole plot and paints in pixel coordinates."""

    def __init__(self, x_axis: TickAxis, y_axis: TickAxis, theme: Theme) -> None:
        super().__init__()
        self.x_axis, self.y_axis, self.theme = x_axis, y_axis, theme
        self.font = QFont()
        self.is_antialiased = False
        """True if lines are antialiased. Antialiasing is used only for export, because it is too
        slow on screen."""

    def paint(self, painter: QPainter, *_: object) -> None:
        transform = painter.worldTransform()
        area = transform.mapRect(self.boundingRect())
        if area.isEmpty():
            return
        painter.save()
        painter.resetTransform()
        painter.setClipRect(area)
        painter.setFont(self.font)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, self.is_antialiased)
        self.draw(painter, area)
        painter.restore()

    def draw(self, painter: QPainter, area: QRectF) -> None:
        raise NotImplementedError

    def x_to_pixel(self, area: QRectF, value: float | None, edge: float) -> float:
        """Return the x coordinate of a value, in pixels, or `edge` if the value is None or has no
        position on the axis."""
        low, high = self.x_axis.range
        position = math.nan if value is None else float(self.x_axis.axis.to_view(value))
        return edge if math.isnan(position) else area.left() + (position - low) / (high - low) * area.width()

    def y_to_pixel(self, area: QRectF, value: float | None, edge: float) -> float:
        low, high = self.y_axis.range
        position = math.nan if value is None else float(self.y_axis.axis.to_view(value))
        return edge if math.isnan(position) else area.bottom() - (position - low) / (high - low) * area.height()
