"""Decorations of a chart: grid, bands, shaded region, selected time range, limit, markers and
selected point."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QBrush, QColor, QFontMetricsF, QPainter, QPen

from app.gui.charts.axes import Floats
from app.gui.charts.layer import Layer
from app.gui.charts.pens import grid_pen, series_color, solid_pen, state_color, translucent_color
from app.gui.charts.series import Bounds
from app.gui.charts.tick_axis import TickAxis
from app.gui.formatting import State
from app.gui.theme import Theme

_PAD_PX = 3.0
_SELECTION_RADIUS_PX = 8.0
_BESIDE_PX = 6.0
"""Distance of a label from the narrow region that it is beside, whose edge may have a marker."""
_MIN_CHARACTERS = 5
_MAX_SHADED_BANDS = 20
"""Maximum number of visible bands that are shaded. More bands, which would hide the data, are rules
along the upper edge of the plot."""
_MIN_BAND_PX = 6
"""Width of a band without a state below which its rule is omitted."""
_RULE_PX = 4.0
_MIN_RULE_PX = 2.0
_RULE_ORDER: tuple[State, ...] = ("plain", "good", "warn", "bad")
"""Order in which rules are drawn, so that a stage that missed the SLO covers its neighbors."""


class Band(msgspec.Struct, frozen=True):
    start: float
    end: float
    label: str
    state: State


class Marker(msgspec.Struct, frozen=True):
    x: float
    label: str


class Interval(msgspec.Struct, frozen=True):
    """Confidence intervals along a line, in data values: the lower and upper bound at each x value.
    A NaN is a gap."""

    x: Floats
    low: Floats
    high: Floats
    style_index: int


class SelectedPoint(msgspec.Struct, frozen=True):
    """Selected point of a scatter plot, in data values, with the text of its label."""

    x: float
    y: float
    text: str


class Decorations(msgspec.Struct):
    """All decorations of a chart, in data values.

    `time_range` is the selected time range. If a bound of the shaded `region` is NaN, the region
    extends to the edge of the plot.
    """

    bands: tuple[Band, ...] = ()
    intervals: dict[str, Interval] = msgspec.field(default_factory=dict)
    """Confidence intervals of lines, by the key of the line."""
    region: Bounds | None = None
    region_label: str = ""
    spans: tuple[tuple[float, float, str], ...] = ()
    """Shaded ranges of x values, each with its label."""
    limit: float | None = None
    limit_label: str = ""
    markers: tuple[Marker, ...] = ()
    time_range: tuple[float, float] | None = None
    selected_point: SelectedPoint | None = None


class DecorationLayer(Layer):
    """Layer that draws decorations, or that places its content beside their labels."""

    def __init__(self, decorations: Decorations, x_axis: TickAxis, y_axis: TickAxis, theme: Theme) -> None:
        super().__init__(x_axis, y_axis, theme)
        self.decorations = decorations

    def bounds_to_rect(self, area: QRectF, bounds: Bounds) -> QRectF:
        """Return the visible rectangle of bounds, in pixels. Bounds that are NaN are at the edges."""
        left, right = self.x_to_pixel(area, bounds.x0, area.left()), self.x_to_pixel(area, bounds.x1, area.right())
        bottom, top = self.y_to_pixel(area, bounds.y0, area.bottom()), self.y_to_pixel(area, bounds.y1, area.top())
        return QRectF(QPointF(left, top), QPointF(right, bottom)).intersected(area)

    def place_region_label(self, area: QRectF, metrics: QFontMetricsF) -> QRectF | None:
        """Return the rectangle of the label of the region: in the region or, if that is too narrow,
        beside it. Return None if no region is visible."""
        region = QRectF() if self.decorations.region is None else self.bounds_to_rect(area, self.decorations.region)
        if region.isEmpty():
            return None
        width = metrics.horizontalAdvance(self.decorations.region_label) + 1 + 2 * _PAD_PX
        rect = QRectF(region.left(), region.top() + _PAD_PX, min(width, region.width()), metrics.height() + _PAD_PX)
        if width > region.width():
            for left in (region.left() - _BESIDE_PX - width, region.right() + _BESIDE_PX):
                if area.left() <= left and left + width <= area.right():
                    return QRectF(left, rect.top(), width, rect.height())
        return rect

    def place_limit_label(self, area: QRectF, metrics: QFontMetricsF) -> tuple[str, QRectF] | None:
        """Return the label of the limit and its rectangle: above the limit at the right edge, or at
        the left edge if the label would cover the region. A logarithmic axis also has the label of a
        limit outside its range. Return None without a label."""
        if self.decorations.limit is None:
            return None
        label, y_px = self.decorations.limit_label, self.y_to_pixel(area, self.decorations.limit, math.nan)
        if not math.isfinite(y_px):
            return None
        if not area.top() <= y_px <= area.bottom():
            if not self.y_axis.axis.is_log:
                return None
            label = f"↑ {label}" if y_px < area.top() else f"↓ {label}"
            y_px = area.top() if y_px < area.top() else area.bottom()
        width = min(metrics.horizontalAdvance(label) + 1 + 2 * _PAD_PX, area.width())
        top = y_px - metrics.height() - 2 * _PAD_PX
        top = y_px + _PAD_PX if top < area.top() else top
        rect = QRectF(area.right() - width, top, width, metrics.height() + _PAD_PX)
        if self.decorations.region is not None:
            region = self.bounds_to_rect(area, self.decorations.region)
            left_rect = rect.translated(width - area.width(), 0)
            if region.intersects(rect) and not region.intersects(left_rect):
                return label, left_rect
        return label, rect


class Underlay(DecorationLayer):
    """Layer behind the data, with the grid, the bands, the shaded region and the selected time
    range."""

    def draw(self, painter: QPainter, area: QRectF) -> None:
        self._draw_region(painter, area)
        self._draw_grid(painter, area)
        self._draw_region_label(painter, area)
        self._draw_bands(painter, area)
        for interval in self.decorations.intervals.values():
            self._draw_interval(painter, area, interval)
        if self.decorations.time_range is None:
            return
        left, right = (self.x_to_pixel(area, end, area.left()) for end in self.decorations.time_range)
        rect = QRectF(QPointF(left, area.top()), QPointF(right, area.bottom()))
        painter.fillRect(rect, translucent_color(self.theme.accent, 40))
        painter.setPen(solid_pen(self.theme.accent))
        for x_px in (left, right):
            painter.drawLine(QPointF(x_px, area.top()), QPointF(x_px, area.bottom()))
            painter.fillRect(QRectF(x_px - 2, area.center().y() - 9, 5, 18), QColor(self.theme.accent))

    def _draw_interval(self, painter: QPainter, area: QRectF, interval: Interval) -> None:
        """Shade the area between the bounds, and at an x value without neighbors draw a bar."""
        color = series_color(self.theme, interval.style_index)
        has_value = np.isfinite(interval.low) & np.isfinite(interval.high)
        for start, stop in _find_runs(has_value):
            columns = [self.x_to_pixel(area, x, math.nan) for x in interval.x[start:stop].tolist()]
            lower = [self.y_to_pixel(area, y, area.bottom()) for y in interval.low[start:stop].tolist()]
            upper = [self.y_to_pixel(area, y, area.top()) for y in interval.high[start:stop].tolist()]
            if stop - start == 1:
                painter.setPen(QPen(translucent_color(color, 160), 1))
                painter.drawLine(QPointF(columns[0], lower[0]), QPointF(columns[0], upper[0]))
                continue
            edge = [*zip(columns, lower, strict=True), *reversed([*zip(columns, upper, strict=True)])]
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(translucent_color(color, 45))
            painter.drawPolygon([QPointF(*corner) for corner in edge])

    def _draw_grid(self, painter: QPainter, area: QRectF) -> None:
        painter.setPen(grid_pen(self.theme))
        low, high = self.y_axis.range
        for position in self.y_axis.tick_positions():
            y_px = area.bottom() - (position - low) / (high - low) * area.height()
            painter.drawLine(QPointF(area.left(), y_px), QPointF(area.right(), y_px))
        if self.x_axis.axis.has_vertical_grid:
            left, right = self.x_axis.range
            for position in self.x_axis.tick_positions():
                x_px = area.left() + (position - left) / (right - left) * area.width()
                painter.drawLine(QPointF(x_px, area.top()), QPointF(x_px, area.bottom()))

    def _draw_bands(self, painter: QPainter, area: QRectF) -> None:
        visible_bands = [
            (band_index, band, QRectF(QPointF(left, area.top()), QPointF(max(right, left + 1.0), area.bottom())))
            for band_index, band in enumerate(self.decorations.bands)
            for left in [max(self.x_to_pixel(area, band.start, area.left()), area.left())]
            for right in [min(self.x_to_pixel(area, band.end, area.right()), area.right())]
            if right >= left
        ]
        if len(visible_bands) > _MAX_SHADED_BANDS:
            visible_bands.sort(key=lambda visible: _RULE_ORDER.index(visible[1].state))
            for band_index, band, rect in visible_bands:
                if band.state == "plain" and (rect.width() < _MIN_BAND_PX or band_index % 2 == 0):
                    continue
                height = _RULE_PX * (2 if band.state in ("warn", "bad") else 1)
                rule = QRectF(rect.left(), area.top(), max(rect.width(), _MIN_RULE_PX), height)
                painter.fillRect(rule, QColor(state_color(self.theme, band.state)))
            return
        metrics = QFontMetricsF(self.font)
        lane_ends: list[float] = []
        for band_index, band, rect in visible_bands:
            color = QColor(state_color(self.theme, band.state))
            if band.state != "plain" or band_index % 2:  # alternate the shading to make stages distinguishable
                painter.fillRect(rect, translucent_color(color, 16 if band.state == "plain" else 34))
            if band.state in ("warn", "bad"):
                painter.fillRect(rect, QBrush(translucent_color(color, 70), Qt.BrushStyle.BDiagPattern))
            painter.setPen(QPen(translucent_color(color, 120), 1))
            painter.drawLine(rect.topLeft(), rect.bottomLeft())
            lane = next((index for index, end in enumerate(lane_ends) if end <= rect.left()), len(lane_ends))
            lane_ends[lane : lane + 1] = [rect.right()]
            text_rect = QRectF(rect.left(), area.top() + lane * metrics.height(), rect.width(), 0)
            _draw_text(painter, metrics, band.label, text_rect, color, QColor(self.theme.paper))

    def _draw_region(self, painter: QPainter, area: QRectF) -> None:
        metrics, color = QFontMetricsF(self.font), QColor(self.theme.good)
        for start, end, text in self.decorations.spans:
            rect = self.bounds_to_rect(area, Bounds(start, end, math.nan, math.nan))
            self._shade(painter, rect)
            # the labels of bands are above those of spans, and the labels of markers at the bottom
            text_rect = QRectF(rect.left(), rect.top() + _PAD_PX + metrics.height(), rect.width(), 0)
            _draw_text(painter, metrics, text, text_rect, color)
        if self.decorations.region is not None:
            self._shade(painter, self.bounds_to_rect(area, self.decorations.region))

    def _draw_region_label(self, painter: QPainter, area: QRectF) -> None:
        metrics = QFontMetricsF(self.font)
        label_rect = self.place_region_label(area, metrics)
        if label_rect is not None:
            _draw_text(painter, metrics, self.decorations.region_label, label_rect, QColor(self.theme.good))

    def _shade(self, painter: QPainter, rect: QRectF) -> None:
        if rect.isEmpty():
            return
        color = QColor(self.theme.good)
        painter.fillRect(rect, translucent_color(color, 28))
        painter.setPen(QPen(translucent_color(color, 150), 1, Qt.PenStyle.DashLine))
        painter.drawRect(rect)


def _find_runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the start and the end of each run of true values."""
    padded = np.concatenate([[False], mask, [False]])
    starts, stops = np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(~padded[1:] & padded[:-1])
    return [*zip(starts.tolist(), stops.tolist(), strict=True)]


class Overlay(DecorationLayer):
    """Layer in front of the data, with the limit, the markers and the selected point."""

    def draw(self, painter: QPainter, area: QRectF) -> None:
        metrics = QFontMetricsF(self.font)
        self._draw_limit(painter, area, metrics)
        occupied_right = area.left()
        for marker in sorted(self.decorations.markers, key=lambda marker: marker.x):
            x_px = self.x_to_pixel(area, marker.x, math.nan)
            if not area.left() <= x_px <= area.right():
                continue
            painter.setPen(QPen(QColor(self.theme.ink), 1, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(x_px, area.top()), QPointF(x_px, area.bottom()))
            painter.setBrush(QColor(self.theme.ink))
            painter.setPen(Qt.PenStyle.NoPen)
            top = area.top()
            painter.drawPolygon([QPointF(x_px - 4, top), QPointF(x_px + 4, top), QPointF(x_px, top + 6)])
            width = min(metrics.horizontalAdvance(marker.label) + 1, area.width() / 3)
            if x_px + 6 < occupied_right:
                continue
            text_x = x_px + 4 if x_px + 6 + width <= area.right() else x_px - width - 2 * _PAD_PX - 4
            text_rect = QRectF(text_x, area.bottom() - metrics.height() - _PAD_PX, width + 2 * _PAD_PX, 0)
            _draw_text(painter, metrics, marker.label, text_rect, QColor(self.theme.ink), QColor(self.theme.paper))
            occupied_right = text_x + width + 2 * _PAD_PX
        self._draw_selected_point(painter, area, metrics)

    def _draw_selected_point(self, painter: QPainter, area: QRectF, metrics: QFontMetricsF) -> None:
        point = self.decorations.selected_point
        if point is None:
            return
        x_px, y_px = self.x_to_pixel(area, point.x, math.nan), self.y_to_pixel(area, point.y, math.nan)
        if not (area.left() <= x_px <= area.right() and area.top() <= y_px <= area.bottom()):
            return
        ink = QColor(self.theme.ink)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(QPen(ink, 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawEllipse(QPointF(x_px, y_px), _SELECTION_RADIUS_PX, _SELECTION_RADIUS_PX)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        width = min(metrics.horizontalAdvance(point.text) + 1, area.width() / 2) + 2 * _PAD_PX
        is_text_left = x_px + _SELECTION_RADIUS_PX + 4 + width > area.right()
        left = x_px - _SELECTION_RADIUS_PX - 4 - width if is_text_left else x_px + _SELECTION_RADIUS_PX + 4
        top = max(area.top(), y_px - _SELECTION_RADIUS_PX - metrics.height())
        _draw_text(painter, metrics, point.text, QRectF(left, top, width, 0), ink, QColor(self.theme.card))

    def _draw_limit(self, painter: QPainter, area: QRectF, metrics: QFontMetricsF) -> None:
        placed_label = self.place_limit_label(area, metrics)
        if self.decorations.limit is None or placed_label is None:
            return
        y_px = self.y_to_pixel(area, self.decorations.limit, math.nan)
        if area.top() <= y_px <= area.bottom():
            painter.setPen(QPen(QColor(self.theme.bad), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(area.left(), y_px), QPointF(area.right(), y_px))
        _draw_text(painter, metrics, *placed_label, QColor(self.theme.bad), QColor(self.theme.paper))


def _draw_text(
    painter: QPainter,
    metrics: QFontMetricsF,
    text: str,
    rect: QRectF,
    color: QColor,
    background: QColor | None = None,
) -> None:
    """Draw text at the upper left of `rect`, elided to the width of `rect`. If `background` is set,
    the area behind the text is filled with that color, because the text may cover lines."""
    elided_text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, rect.width() - 2 * _PAD_PX)
    if not elided_text or len(elided_text) < min(len(text), _MIN_CHARACTERS):
        return
    text_rect = QRectF(
        rect.left(), rect.top(), metrics.horizontalAdvance(elided_text) + 2 * _PAD_PX, metrics.height() + _PAD_PX
    )
    if background is not None:
        painter.fillRect(text_rect, translucent_color(background, 215))
    painter.setPen(color)
    painter.drawText(QPointF(text_rect.left() + _PAD_PX, text_rect.top() + metrics.ascent() + 1), elided_text)
