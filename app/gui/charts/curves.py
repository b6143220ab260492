"""Lines, intervals and points of a chart, painted with the colors, dash patterns and markers of the
theme."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.layer import Layer
from app.gui.charts.pens import (
    MARKER_PX,
    draw_markers,
    line_pen,
    marker_path,
    series_color,
    series_marker,
    solid_pen,
)
from app.gui.charts.series import Series
from app.gui.charts.tick_axis import TickAxis
from app.gui.charts.view_series import ViewSeries
from app.gui.theme import Theme

_MAX_PX = 1e5
_POINT_PX = MARKER_PX + 3


class Curves(Layer):
    """Layer with lines and intervals. All computation takes place during painting, so that hidden
    charts cost nothing."""

    def __init__(self, x: TickAxis, y: TickAxis, theme: Theme) -> None:
        super().__init__(x, y, theme)
        self._placed: dict[str, ViewSeries] = {}
        self._path_cache: WeakKeyDictionary[ViewSeries, tuple[Sequence[float], QPainterPath, QPainterPath]] = (
            WeakKeyDictionary()
        )

    def set_series(self, series: Series) -> None:
        self._placed[series.key] = ViewSeries(series, self.x.axis, self.y.axis)

    def keep_only(self, keys: set[str]) -> None:
        """Remove all series except those in `keys`. The order of the remaining series does not
        change."""
        self._placed = {key: placed for key, placed in self._placed.items() if key in keys}

    def is_dashed(self, key: str, width_px: float) -> bool:
        return key not in self._placed or not self._placed[key].is_dense(*self.x.range, width_px)

    def draw(self, painter: QPainter, area: QRectF) -> None:
        for placed in self._placed.values():
            self._draw_line(painter, area, placed)
        for placed in self._placed.values():
            self._draw_markers(painter, area, placed)

    def _draw_line(self, painter: QPainter, area: QRectF, placed: ViewSeries) -> None:
        series = placed.series
        is_dense = placed.is_dense(*self.x.range, area.width())
        solid = solid_pen(series_color(self.theme, series.style_index))
        painter.setPen(solid if is_dense else line_pen(self.theme, series.style_index))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(self._paths(area, placed)[0])

    def _paths(self, area: QRectF, placed: ViewSeries) -> tuple[QPainterPath, QPainterPath]:
        """Return the path of a line and the path of its markers. The paths are cached, because
        moving the crosshair repaints them often."""
        state = (*self.x.range, *self.y.range, *area.getRect())  # type: ignore[misc]
        cached = self._path_cache.get(placed)
        if cached is None or cached[0] != state:
            x, y = placed.downsample(*self.x.range, area.width())
            line = pg.functions.arrayToQPath(self._to_columns(area, x), self._to_rows(area, y), connect="finite")
            markers, marker = QPainterPath(), marker_path(placed.series.style_index)
            indices = placed.marker_indices(*self.x.range)
            columns, rows = self._to_columns(area, placed.x[indices]), self._to_rows(area, placed.y[indices])
            for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
                markers.addPath(marker.translated(column, row))
            cached = self._path_cache[placed] = (state, line, markers)
        return cached[1], cached[2]

    def _draw_markers(self, painter: QPainter, area: QRectF, placed: ViewSeries) -> None:
        series = placed.series
        is_hollow = series.hollow is not None and bool(series.hollow.all())
        draw_markers(painter, self.theme, series.style_index, self._paths(area, placed)[1], is_hollow=is_hollow)

    def _to_columns(self, area: QRectF, places: Floats) -> Floats:
        low, high = self.x.range
        return np.clip(area.left() + (places - low) * (area.width() / (high - low)), -_MAX_PX, _MAX_PX)

    def _to_rows(self, area: QRectF, places: Floats) -> Floats:
        low, high = self.y.range
        return np.clip(area.bottom() - (places - low) * (area.height() / (high - low)), -_MAX_PX, _MAX_PX)


class Points:
    """Scatter plot items of the point series."""

    def __init__(self, box: pg.ViewBox, x: Axis, y: Axis) -> None:
        self._box, self._x, self._y = box, x, y
        self._items: dict[str, pg.ScatterPlotItem] = {}

    def set_series(self, series: Series, theme: Theme) -> None:
        if series.key not in self._items:
            self._items[series.key] = pg.ScatterPlotItem(pxMode=True)
            self._items[series.key].setZValue(5)
            self._box.addItem(self._items[series.key], ignoreBounds=True)
        x, y = self._x.to_view(series.x), self._y.to_view(series.y)
        visible = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        color = series_color(theme, series.style_index)
        full, empty = pg.mkBrush(color), pg.mkBrush(theme.paper)
        self._items[series.key].setData(
            x=x[visible],
            y=y[visible],
            symbol=series_marker(series.style_index),
            size=_POINT_PX,
            pen=solid_pen(color),
            brush=[empty if series.is_hollow(int(index)) else full for index in visible],
        )

    def keep_only(self, keys: set[str]) -> None:
        for key in self._items.keys() - keys:
            self._box.removeItem(self._items.pop(key))
