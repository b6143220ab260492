"""Lines and points of a chart, painted with the colors, dash patterns and markers of the theme."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QPainter, QPainterPath, QPen

from app.gui.charts.axes import Axis, Floats
from app.gui.charts.layer import Layer
from app.gui.charts.pens import (
    MARKER_PX,
    category_color,
    category_marker,
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
    """Layer with the lines of a chart. All computation takes place during painting, so that hidden
    charts cost nothing."""

    def __init__(self, x_axis: TickAxis, y_axis: TickAxis, theme: Theme) -> None:
        super().__init__(x_axis, y_axis, theme)
        self._view_series: dict[str, ViewSeries] = {}
        self.are_lines_named = False
        """True if each line has its name at its end, or there is only one. Lines of many samples then
        have no markers."""
        self._path_cache: WeakKeyDictionary[ViewSeries, tuple[Sequence[float], QPainterPath, QPainterPath]] = (
            WeakKeyDictionary()
        )

    def set_series(self, series: Series) -> None:
        self._view_series[series.key] = ViewSeries(series, self.x_axis.axis, self.y_axis.axis)

    def remove_all_except(self, keys: set[str]) -> None:
        """Remove all series except those in `keys`. The order of the remaining series does not
        change."""
        self._view_series = {key: view_series for key, view_series in self._view_series.items() if key in keys}

    def is_dashed(self, key: str, width_px: float) -> bool:
        if len(self._view_series) == 1:
            return False
        return key not in self._view_series or not self._view_series[key].is_dense(*self.x_axis.range, width_px)

    def draw(self, painter: QPainter, area: QRectF) -> None:
        for view_series in self._view_series.values():
            self._draw_line(painter, area, view_series)
        for view_series in self._view_series.values():
            self._draw_markers(painter, area, view_series)

    def _draw_line(self, painter: QPainter, area: QRectF, view_series: ViewSeries) -> None:
        series = view_series.series
        is_dense = view_series.is_dense(*self.x_axis.range, area.width())
        solid_line_pen = solid_pen(series_color(self.theme, series.style_index))
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, not is_dense)
        pen = solid_line_pen if is_dense else line_pen(self.theme, series.style_index)
        if len(self._view_series) == 1:  # dashes, which distinguish lines, would look like gaps
            pen.setStyle(Qt.PenStyle.SolidLine)
        pen.setCosmetic(not self.is_antialiased)  # an exported line is as wide as on screen
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPath(self._build_paths(area, view_series)[0])
        painter.restore()

    def _build_paths(self, area: QRectF, view_series: ViewSeries) -> tuple[QPainterPath, QPainterPath]:
        """Return the path of a line and the path of the line's markers. Both paths are cached,
        because each move of the crosshair repaints the line."""
        cache_key = (*self.x_axis.range, *self.y_axis.range, *area.getRect(), self.are_lines_named)  # type: ignore[misc]
        cache_entry = self._path_cache.get(view_series)
        if cache_entry is None or cache_entry[0] != cache_key:
            x, y = view_series.downsample(*self.x_axis.range, area.width())
            line_path = pg.functions.arrayToQPath(self._to_columns(area, x), self._to_rows(area, y), connect="finite")
            markers_path, marker = QPainterPath(), marker_path(view_series.series.style_index)
            indices = view_series.marker_indices(*self.x_axis.range, is_named=self.are_lines_named)
            columns, rows = self._to_columns(area, view_series.x[indices]), self._to_rows(area, view_series.y[indices])
            for column, row in zip(columns.tolist(), rows.tolist(), strict=True):
                markers_path.addPath(marker.translated(column, row))
            cache_entry = self._path_cache[view_series] = (cache_key, line_path, markers_path)
        return cache_entry[1], cache_entry[2]

    def _draw_markers(self, painter: QPainter, area: QRectF, view_series: ViewSeries) -> None:
        series = view_series.series
        is_hollow = series.hollow_flags is not None and bool(series.hollow_flags.all())
        draw_markers(
            painter, self.theme, series.style_index, self._build_paths(area, view_series)[1], is_hollow=is_hollow
        )

    def _to_columns(self, area: QRectF, positions: Floats) -> Floats:
        low, high = self.x_axis.range
        return np.clip(area.left() + (positions - low) * (area.width() / (high - low)), -_MAX_PX, _MAX_PX)

    def _to_rows(self, area: QRectF, positions: Floats) -> Floats:
        low, high = self.y_axis.range
        return np.clip(area.bottom() - (positions - low) * (area.height() / (high - low)), -_MAX_PX, _MAX_PX)


class Points:
    """Scatter plot item of a chart with the points of all its series. One item is drawn faster than
    one item per series."""

    def __init__(self, box: pg.ViewBox, x_axis: Axis, y_axis: Axis) -> None:
        self._x_axis, self._y_axis = x_axis, y_axis
        self._item = pg.ScatterPlotItem(pxMode=True)
        self._item.setZValue(5)
        box.addItem(self._item, ignoreBounds=True)

    def set_series(self, all_series: Sequence[Series], theme: Theme) -> None:
        """Replace all points by those of `all_series`."""
        x_parts: list[Floats] = [np.empty(0)]
        y_parts: list[Floats] = [np.empty(0)]
        symbols: list[str] = []
        pens: list[QPen] = []
        brushes: list[QBrush] = []
        for series in all_series:
            x, y = self._x_axis.to_view(series.x), self._y_axis.to_view(series.y)
            visible_indices = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
            category = series.category
            if category is None:
                color, symbol = series_color(theme, series.style_index), series_marker(series.style_index)
            else:
                color, symbol = category_color(theme, category.color_index), category_marker(category.marker_index)
            filled_brush, hollow_brush = pg.mkBrush(color), pg.mkBrush(theme.paper)
            x_parts.append(x[visible_indices])
            y_parts.append(y[visible_indices])
            symbols += [symbol] * visible_indices.size
            pens += [solid_pen(color)] * visible_indices.size
            brushes += [hollow_brush if series.is_hollow(int(index)) else filled_brush for index in visible_indices]
        self._item.setData(
            x=np.concatenate(x_parts),
            y=np.concatenate(y_parts),
            symbol=symbols,
            size=_POINT_PX,
            pen=pens,
            brush=brushes,
        )
