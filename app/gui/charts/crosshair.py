"""Crosshair of a chart, which can be moved with the mouse and the keyboard."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import QObject, QPointF, Signal

from app.gui.charts.axes import Axis
from app.gui.charts.decorations import Decorations, SelectedPoint
from app.gui.charts.pens import solid_pen
from app.gui.charts.plot import PlotView
from app.gui.charts.reading import (
    HIT_RADIUS_PX,
    Direction,
    Point,
    Reading,
    nearest_point,
    next_point,
    next_x,
    read_samples,
)
from app.gui.charts.series import Series
from app.gui.theme import Theme

_LARGE_STEP_PX = 40.0


class Crosshair(QObject):
    """Vertical line across all series. In a scatter plot, the selected point is also circled."""

    changed = Signal()
    moved = Signal(float)
    """Signal that is emitted with the x value, in data values, when the user moves the crosshair,
    and with NaN when the crosshair disappears."""
    sample_selected = Signal(str, int)

    def __init__(self, parent: QObject, plot: PlotView, x_axis: Axis, y_axis: Axis, decorations: Decorations) -> None:
        super().__init__(parent)
        self._plot, self._x_axis, self._y_axis, self._decorations = plot, x_axis, y_axis, decorations
        self._series: tuple[Series, ...] = ()
        self.x: float | None = None
        self._point: Point | None = None
        self._is_hovered = False
        self._line = pg.InfiniteLine(angle=90)
        self._line.setZValue(30)
        self._line.hide()
        plot.box.addItem(self._line, ignoreBounds=True)
        plot.hovered.connect(self._hover)
        plot.mouse_left.connect(self.on_mouse_left)
        plot.clicked.connect(self._click)

    def apply_theme(self, theme: Theme) -> None:
        self._line.setPen(solid_pen(theme.ink))

    def set_series(self, series: tuple[Series, ...]) -> None:
        self._series = series
        if self._point is not None and self._find_series(self._point) is None:
            self._point = None
        self._update()

    def readings(self) -> tuple[Reading, ...]:
        return () if self.x is None else read_samples(self._series, self.x, self._y_axis, self._point)

    def set_position(self, x: float | None) -> None:
        """Move the crosshair to `x` (in data values) without emitting `moved`. `None` hides the
        crosshair."""
        self.x = None if x is None or not math.isfinite(x) else x
        self._point, self._is_hovered = None, False
        self._update()

    def move(self, x: float, point: Point | None = None) -> None:
        self.x = x if math.isfinite(x) else None
        self._point, self._is_hovered = point, False
        self._update()
        self.moved.emit(x)

    def step(self, direction: Direction, *, is_large_step: bool = False) -> bool:
        """Move the crosshair to the next sample that is at least one pixel away or, in a scatter
        plot, to the next point. Return False if there is no such sample or point."""
        if self._has_points():
            point = next_point(self._series, self._point, direction)
            series = None if point is None else self._find_series(point)
            if point is None or series is None:
                return False
            self.move(float(series.x[point[1]]), point)
            return True
        if direction in ("up", "down"):
            return False
        is_after = direction == "right"
        offset = self._plot.pixel_width() * (_LARGE_STEP_PX if is_large_step else 0.999) * (1 if is_after else -1)
        if self.x is None:
            start_position = self._plot.ranges()[0][0 if is_after else 1] - offset
        else:
            start_position = float(self._x_axis.to_view(self.x)) + offset
        x = next_x(self._series, self._x_axis.from_view(start_position), is_after=is_after)
        if x is None and is_large_step:
            return self.go_to_end() if is_after else self.go_to_start()
        if x is not None:
            self.move(x)
        return x is not None

    def go_to_start(self) -> bool:
        x = next_x(self._series, -math.inf, is_after=True)
        if x is not None:
            self.move(x)
        return x is not None

    def go_to_end(self) -> bool:
        x = next_x(self._series, math.inf, is_after=False)
        if x is not None:
            self.move(x)
        return x is not None

    def select_sample(self) -> bool:
        """Emit `sample_selected` with the sample at the crosshair. Return False if there is no
        sample."""
        if self.x is None:
            return False
        if self._point is not None:
            self.sample_selected.emit(*self._point)
            return True
        for series in self._series:
            index = series.nearest_index(self.x)
            if index is not None:
                self.sample_selected.emit(series.key, index)
                return True
        return False

    def _has_points(self) -> bool:
        return any(series.kind == "points" and len(series.x) for series in self._series)

    def _find_series(self, point: Point) -> Series | None:
        series = next((candidate for candidate in self._series if candidate.key == point[0]), None)
        return series if series is not None and point[1] < len(series.x) else None

    def _update(self) -> None:
        position = math.nan if self.x is None else float(self._x_axis.to_view(self.x))
        self._line.setVisible(math.isfinite(position))
        if math.isfinite(position):
            self._line.setPos(position)
        previous_point, self._decorations.selected_point = (
            self._decorations.selected_point,
            self._build_selected_point(),
        )
        if previous_point != self._decorations.selected_point:
            self._plot.scene().update()
        self.changed.emit()

    def _build_selected_point(self) -> SelectedPoint | None:
        if self._point is None:
            return None
        series = self._find_series(self._point)
        index = self._point[1]
        if series is None or series.kind != "points":
            return None
        text = series.names[index] if series.names else series.label
        return SelectedPoint(float(series.x[index]), float(series.y[index]), text)

    def _hover(self, x: float, y: float) -> None:
        point = self._find_point_near(x, y, is_points_only=True) if self._has_points() else None
        series = None if point is None else self._find_series(point)
        x_value = self._x_axis.from_view(x) if series is None or point is None else float(series.x[point[1]])
        self.move(x_value, point)
        self._is_hovered = True

    def on_mouse_left(self) -> None:
        """Hide the crosshair if the crosshair was placed with the mouse."""
        if self._is_hovered:
            self.move(math.nan)

    def _click(self, x: float, y: float) -> None:
        point = self._find_point_near(x, y, is_points_only=False)
        if point is not None:
            self.sample_selected.emit(*point)

    def _find_point_near(self, x: float, y: float, *, is_points_only: bool) -> Point | None:
        pixel = self._plot.view_to_pixel(x, y)
        x_edges = [self._plot.pixel_to_view(pixel + QPointF(side * HIT_RADIUS_PX, 0)).x() for side in (-1, 1)]
        series = [candidate for candidate in self._series if candidate.kind == "points" or not is_points_only]
        x_range = (self._x_axis.from_view(x_edges[0]), self._x_axis.from_view(x_edges[1]))
        return nearest_point(series, pixel, self._to_pixel, x_range)

    def _to_pixel(self, x: float, y: float) -> QPointF:
        return self._plot.view_to_pixel(float(self._x_axis.to_view(x)), float(self._y_axis.to_view(y)))
