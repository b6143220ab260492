"""Direct labels of points in a chart, placed so that they overlap neither each other nor the
labeled points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, QRectF, QSizeF
from PySide6.QtGui import QColor, QFontMetricsF, QPainter

from app.gui.charts.decorations import DecorationLayer, Decorations
from app.gui.charts.pens import solid_pen, translucent_color
from app.gui.charts.tick_axis import TickAxis
from app.gui.theme import Theme

_POINT_PX = 6.0
_PAD_PX = 2.0
_COVERED_PX = 10.0
_STEP_PX = 24.0
_MAX_COLUMNS, _MAX_ROWS = 5, 18
"""Numbers of positions that are tried on each side of a point, and above and below it."""


class Label(msgspec.Struct, frozen=True):
    """Label of the point at `x` and `y`, in data values."""

    x: float
    y: float
    text: str


def place_labels(
    points: Sequence[QPointF],
    sizes: Sequence[QSizeF],
    area: QRectF,
    other_points: Sequence[QPointF] = (),
    occupied: Sequence[QRectF] = (),
) -> tuple[QRectF | None, ...]:
    """Return a rectangle for the label of each point within `area`; None if there is no space.

    No rectangle overlaps another one, a labeled point, or an occupied rectangle. Of the possible
    rectangles, the nearest is used, but covering one of the other points counts as much as a
    distance of `_COVERED_PX`.
    """
    obstacles = [QRectF(point.x() - _POINT_PX, point.y() - _POINT_PX, 2 * _POINT_PX, 2 * _POINT_PX) for point in points]
    obstacles += occupied
    others = np.array([(point.x(), point.y()) for point in other_points]).reshape(-1, 2)
    placed: list[QRectF | None] = []
    for point, size in zip(points, sizes, strict=True):
        rect, lowest_cost = None, math.inf
        for distance, position in _list_positions(point, size):
            if distance >= lowest_cost:
                break
            if area.contains(position) and not any(map(position.intersects, obstacles)):
                cost = distance + _COVERED_PX * _count_covered(position, others)
                if cost < lowest_cost:
                    rect, lowest_cost = position, cost
        placed.append(rect)
        obstacles += [] if rect is None else [rect]
    return tuple(placed)


def _count_covered(rect: QRectF, points: npt.NDArray[np.float64]) -> int:
    """Return the number of points whose markers a rectangle covers, even in part."""
    low, high = (rect.left() - _POINT_PX, rect.top() - _POINT_PX), (rect.right() + _POINT_PX, rect.bottom() + _POINT_PX)
    return int(((points > low) & (points < high)).all(axis=1).sum())


def _list_positions(point: QPointF, size: QSizeF) -> list[tuple[float, QRectF]]:
    """Return the positions of a label around its point with their distances, nearest first."""
    beside = _POINT_PX + _PAD_PX + size.width() / 2
    columns = [0.0, *(side * (beside + step * _STEP_PX) for step in range(_MAX_COLUMNS) for side in (1, -1))]
    above = _POINT_PX + _PAD_PX + size.height() / 2
    rows = [0.0, *(side * (above + step * size.height() / 2) for step in range(_MAX_ROWS) for side in (-1, 1))]
    offsets = [(_get_distance((column, row), size), column, row) for row in rows for column in columns if row or column]
    offsets.sort(key=lambda offset: offset[0])
    return [
        (
            distance,
            QRectF(
                point.x() + column - size.width() / 2, point.y() + row - size.height() / 2, size.width(), size.height()
            ),
        )
        for distance, column, row in offsets
    ]


def _get_distance(offset: tuple[float, float], size: QSizeF) -> float:
    """Return the distance from a point to the nearest edge of its label."""
    return math.hypot(max(abs(offset[0]) - size.width() / 2, 0), max(abs(offset[1]) - size.height() / 2, 0))


class LabelLayer(DecorationLayer):
    """Layer with the direct labels of points. A label that is not beside its point is joined to it
    by a line."""

    def __init__(self, decorations: Decorations, x_axis: TickAxis, y_axis: TickAxis, theme: Theme) -> None:
        super().__init__(decorations, x_axis, y_axis, theme)
        self.labels: tuple[Label, ...] = ()
        self.other_points: tuple[tuple[float, float], ...] = ()
        """Points without a label, in data values, which labels should not cover."""
        self._arranged: tuple[object, list[tuple[Label, QPointF, QRectF | None]]] = (None, [])

    def draw(self, painter: QPainter, area: QRectF) -> None:
        metrics = QFontMetricsF(self.font)
        placed = [(label, point, rect) for label, point, rect in self.arrange(area, metrics) if rect is not None]
        painter.setPen(solid_pen(self.theme.muted))
        for _, point, rect in placed:
            nearest = QPointF(
                min(max(point.x(), rect.left()), rect.right()), min(max(point.y(), rect.top()), rect.bottom())
            )
            if math.hypot(nearest.x() - point.x(), nearest.y() - point.y()) > 2 * _POINT_PX:
                painter.drawLine(point, nearest)
        painter.setPen(QColor(self.theme.ink))
        for label, _, rect in placed:  # over all lines
            painter.fillRect(rect, translucent_color(self.theme.paper, 230))
            painter.drawText(QPointF(rect.left() + _PAD_PX, rect.top() + metrics.ascent()), label.text)

    def arrange(self, area: QRectF, metrics: QFontMetricsF) -> list[tuple[Label, QPointF, QRectF | None]]:
        """Return each label in the plot with the pixel position of its point and the rectangle of
        its text; None for a label without space. The result is cached, because each move of the
        crosshair repaints the chart."""
        decorations = self.decorations
        key = (
            self.labels,
            self.other_points,
            decorations.region,
            decorations.region_label,
            decorations.limit,
            decorations.limit_label,
            area.getRect(),
            *self.x_axis.range,
            *self.y_axis.range,
            metrics.height(),
        )
        if self._arranged[0] != key:
            self._arranged = (key, self._arrange(area, metrics))
        return self._arranged[1]

    def _arrange(self, area: QRectF, metrics: QFontMetricsF) -> list[tuple[Label, QPointF, QRectF | None]]:
        visible = [
            (label, point) for label in self.labels if area.contains(point := self._to_pixel(area, label.x, label.y))
        ]
        sizes = [QSizeF(metrics.horizontalAdvance(label.text) + 2 * _PAD_PX, metrics.height()) for label, _ in visible]
        margin = metrics.height() + 2 * _PAD_PX  # the limit, the region and the markers have labels at the edges
        rects = place_labels(
            [point for _, point in visible],
            sizes,
            area.adjusted(0, margin, 0, -margin),
            [self._to_pixel(area, x, y) for x, y in self.other_points],
            self._list_occupied(area, metrics),
        )
        return [(label, point, rect) for (label, point), rect in zip(visible, rects, strict=True)]

    def _to_pixel(self, area: QRectF, x: float, y: float) -> QPointF:
        return QPointF(self.x_to_pixel(area, x, math.nan), self.y_to_pixel(area, y, math.nan))

    def _list_occupied(self, area: QRectF, metrics: QFontMetricsF) -> list[QRectF]:
        """Return the rectangles of the labels of the shaded region and of the limit."""
        region_label, limit_label = self.place_region_label(area, metrics), self.place_limit_label(area, metrics)
        rects = (region_label, None if limit_label is None else limit_label[1])
        return [rect.adjusted(-_PAD_PX, -_PAD_PX, _PAD_PX, _PAD_PX) for rect in rects if rect is not None]
