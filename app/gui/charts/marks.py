"""What stands behind and before the data: grid, bands, a region, the limit, marks. Words stand beside every colour."""

from __future__ import annotations

import math

import msgspec
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetricsF, QPainter, QPen

from app.gui.charts.layer import Layer
from app.gui.charts.pens import clear_colour, grid_pen, solid_pen, state_colour
from app.gui.charts.tick_axis import TickAxis
from app.gui.formatting import State
from app.gui.theme import Theme

_PAD_PX = 3.0
_SPOT_PX = 8.0
_LEAST_LETTERS = 5


class Band(msgspec.Struct, frozen=True):
    start: float
    end: float
    label: str
    state: State


class Region(msgspec.Struct, frozen=True):
    """None reaches to the edge."""

    x0: float | None
    x1: float | None
    y0: float | None
    y1: float | None
    label: str


class Mark(msgspec.Struct, frozen=True):
    x: float
    label: str


class Spot(msgspec.Struct, frozen=True):
    """The point that is looked at."""

    x: float
    y: float
    text: str


class Marks(msgspec.Struct):
    """In the axes' own values; `span` is the chosen stretch of x."""

    bands: tuple[Band, ...] = ()
    region: Region | None = None
    limit: float | None = None
    limit_label: str = ""
    marks: tuple[Mark, ...] = ()
    span: tuple[float, float] | None = None
    spot: Spot | None = None


class _MarkLayer(Layer):
    def __init__(self, marks: Marks, x: TickAxis, y: TickAxis, theme: Theme) -> None:
        super().__init__(x, y, theme)
        self.marks = marks


class Underlay(_MarkLayer):
    """Grid, bands and region."""

    def draw(self, painter: QPainter, area: QRectF) -> None:
        self._draw_region(painter, area)
        self._draw_grid(painter, area)
        self._draw_bands(painter, area)
        if self.marks.span is None:
            return
        left, right = (self.across(area, end, area.left()) for end in self.marks.span)
        where = QRectF(QPointF(left, area.top()), QPointF(right, area.bottom()))
        painter.fillRect(where, clear_colour(self.theme.accent, 40))
        painter.setPen(solid_pen(self.theme.accent))
        for column in (left, right):
            painter.drawLine(QPointF(column, area.top()), QPointF(column, area.bottom()))
            painter.fillRect(QRectF(column - 2, area.center().y() - 9, 5, 18), QColor(self.theme.accent))

    def _draw_grid(self, painter: QPainter, area: QRectF) -> None:
        painter.setPen(grid_pen(self.theme))
        low, high = self.y.range
        for place in self.y.places():
            row = area.bottom() - (place - low) / (high - low) * area.height()
            painter.drawLine(QPointF(area.left(), row), QPointF(area.right(), row))
        if self.x.axis.is_log:
            left, right = self.x.range
            for place in self.x.places():
                column = area.left() + (place - left) / (right - left) * area.width()
                painter.drawLine(QPointF(column, area.top()), QPointF(column, area.bottom()))

    def _draw_bands(self, painter: QPainter, area: QRectF) -> None:
        metrics = QFontMetricsF(self.font)
        ends: list[float] = []
        for number, band in enumerate(self.marks.bands):
            left, right = self.across(area, band.start, area.left()), self.across(area, band.end, area.right())
            left, right = max(left, area.left()), min(right, area.right())
            if right < left:
                continue
            colour = QColor(state_colour(self.theme, band.state))
            where = QRectF(left, area.top(), max(right - left, 1.0), area.height())
            if band.state != "plain" or number % 2:  # stages by turns, so that they are told apart
                painter.fillRect(where, clear_colour(colour, 16 if band.state == "plain" else 34))
            if band.state in ("warn", "bad"):
                painter.fillRect(where, QBrush(clear_colour(colour, 70), Qt.BrushStyle.BDiagPattern))
            painter.setPen(QPen(clear_colour(colour, 120), 1))
            painter.drawLine(where.topLeft(), where.bottomLeft())
            row = next((place for place, end in enumerate(ends) if end <= left), len(ends))
            ends[row : row + 1] = [right]
            word = QRectF(left, area.top() + row * metrics.height(), right - left, 0)
            _draw_word(painter, metrics, band.label, word, colour, QColor(self.theme.paper))

    def _draw_region(self, painter: QPainter, area: QRectF) -> None:
        region = self.marks.region
        if region is None:
            return
        left, right = self.across(area, region.x0, area.left()), self.across(area, region.x1, area.right())
        bottom, top = self.up(area, region.y0, area.bottom()), self.up(area, region.y1, area.top())
        where = QRectF(QPointF(left, top), QPointF(right, bottom)).intersected(area)
        if where.isEmpty():
            return
        colour = QColor(self.theme.good)
        painter.fillRect(where, clear_colour(colour, 28))
        painter.setPen(QPen(clear_colour(colour, 150), 1, Qt.PenStyle.DashLine))
        painter.drawRect(where)
        metrics = QFontMetricsF(self.font)
        high = QRectF(where.left(), where.top() + _PAD_PX, where.width(), 0)  # marks have their words at the foot
        _draw_word(painter, metrics, region.label, high, colour)


class Overlay(_MarkLayer):
    """The limit and the marks."""

    def draw(self, painter: QPainter, area: QRectF) -> None:
        metrics = QFontMetricsF(self.font)
        self._draw_limit(painter, area, metrics)
        end = area.left()
        for mark in sorted(self.marks.marks, key=lambda one: one.x):
            column = self.across(area, mark.x, math.nan)
            if not area.left() <= column <= area.right():
                continue
            painter.setPen(QPen(QColor(self.theme.ink), 1, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(column, area.top()), QPointF(column, area.bottom()))
            painter.setBrush(QColor(self.theme.ink))
            painter.setPen(Qt.PenStyle.NoPen)
            top = area.top()
            painter.drawPolygon([QPointF(column - 4, top), QPointF(column + 4, top), QPointF(column, top + 6)])
            width = min(metrics.horizontalAdvance(mark.label) + 1, area.width() / 3)
            if column + 6 < end:
                continue
            at = column + 4 if column + 6 + width <= area.right() else column - width - 2 * _PAD_PX - 4
            word = QRectF(at, area.bottom() - metrics.height() - _PAD_PX, width + 2 * _PAD_PX, 0)
            _draw_word(painter, metrics, mark.label, word, QColor(self.theme.ink), QColor(self.theme.paper))
            end = at + width + 2 * _PAD_PX
        self._draw_spot(painter, area, metrics)

    def _draw_spot(self, painter: QPainter, area: QRectF, metrics: QFontMetricsF) -> None:
        spot = self.marks.spot
        if spot is None:
            return
        column, row = self.across(area, spot.x, math.nan), self.up(area, spot.y, math.nan)
        if not (area.left() <= column <= area.right() and area.top() <= row <= area.bottom()):
            return
        ink = QColor(self.theme.ink)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(QPen(ink, 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(QPointF(column, row), _SPOT_PX, _SPOT_PX)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        width = min(metrics.horizontalAdvance(spot.text) + 1, area.width() / 2) + 2 * _PAD_PX
        is_left = column + _SPOT_PX + 4 + width > area.right()
        left = column - _SPOT_PX - 4 - width if is_left else column + _SPOT_PX + 4
        top = max(area.top(), row - _SPOT_PX - metrics.height())
        _draw_word(painter, metrics, spot.text, QRectF(left, top, width, 0), ink, QColor(self.theme.raised))

    def _draw_limit(self, painter: QPainter, area: QRectF, metrics: QFontMetricsF) -> None:
        if self.marks.limit is None:
            return
        row = self.up(area, self.marks.limit, math.nan)
        if not math.isfinite(row):
            return
        label, is_seen = self.marks.limit_label, area.top() <= row <= area.bottom()
        if is_seen:
            painter.setPen(QPen(QColor(self.theme.bad), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(area.left(), row), QPointF(area.right(), row))
        elif self.y.axis.is_log:
            label = f"↑ {label}" if row < area.top() else f"↓ {label}"
            row = area.top() if row < area.top() else area.bottom()
        else:
            return
        width = metrics.horizontalAdvance(label) + 1 + 2 * _PAD_PX
        top = row - metrics.height() - 2 * _PAD_PX
        top = row + _PAD_PX if top < area.top() else top
        word = QRectF(max(area.left(), area.right() - width), top, min(width, area.width()), 0)
        _draw_word(painter, metrics, label, word, QColor(self.theme.bad), QColor(self.theme.paper))


def _draw_word(
    painter: QPainter,
    metrics: QFontMetricsF,
    text: str,
    where: QRectF,
    colour: QColor,
    paper: QColor | None = None,
) -> None:
    """At the upper left of `where`, cut to its width, on `paper` where it must be read over lines."""
    shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, where.width() - 2 * _PAD_PX)
    if not shown or len(shown) < min(len(text), _LEAST_LETTERS):
        return
    box = QRectF(where.left(), where.top(), metrics.horizontalAdvance(shown) + 2 * _PAD_PX, metrics.height() + _PAD_PX)
    if paper is not None:
        painter.fillRect(box, clear_colour(paper, 215))
    painter.setPen(colour)
    painter.drawText(QPointF(box.left() + _PAD_PX, box.top() + metrics.ascent() + 1), shown)
