"""A sheet over the plot that paints itself in pixels."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QFont, QPainter

from app.gui.charts.tick_axis import TickAxis
from app.gui.theme import Theme


class Layer(pg.UIGraphicsItem):
    """Painted in pixels, over the whole plot."""

    def __init__(self, x: TickAxis, y: TickAxis, theme: Theme) -> None:
        super().__init__()
        self.x, self.y, self.theme = x, y, theme
        self.font = QFont()
        self.is_smooth = False
        """On paper, lines of any slope are smoothed; on screen that is too slow."""

    def paint(self, painter: QPainter, *_: object) -> None:
        to_pixels = painter.worldTransform()
        area = to_pixels.mapRect(self.boundingRect())
        if area.isEmpty():
            return
        painter.save()
        painter.resetTransform()
        painter.setClipRect(area)
        painter.setFont(self.font)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, self.is_smooth)
        self.draw(painter, area)
        painter.restore()

    def draw(self, painter: QPainter, area: QRectF) -> None:
        raise NotImplementedError

    def across(self, area: QRectF, value: float | None, edge: float) -> float:
        """The pixel of a value of x; `edge` where there is none."""
        low, high = self.x.range
        place = math.nan if value is None else float(self.x.axis.to_view(value))
        return edge if math.isnan(place) else area.left() + (place - low) / (high - low) * area.width()

    def up(self, area: QRectF, value: float | None, edge: float) -> float:
        low, high = self.y.range
        place = math.nan if value is None else float(self.y.axis.to_view(value))
        return edge if math.isnan(place) else area.bottom() - (place - low) / (high - low) * area.height()
