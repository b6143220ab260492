"""The place that is looked at, moved by mouse and keys."""

from __future__ import annotations

import math

import pyqtgraph as pg
from PySide6.QtCore import QObject, QPointF, Signal

from app.gui.charts.axes import Axis
from app.gui.charts.marks import Marks, Spot
from app.gui.charts.pens import solid_pen
from app.gui.charts.plot import PlotView
from app.gui.charts.reading import REACH_PX, Point, Reading, Way, nearest_point, next_point, next_x, read_at
from app.gui.charts.series import Series
from app.gui.theme import Theme

_BIG_STEP_PX = 40.0


class Crosshair(QObject):
    """A column over all lines; in a scatter of points the one looked at is ringed too."""

    changed = Signal()
    moved = Signal(float)
    """By the user; NaN where it goes."""
    chosen = Signal(str, int)

    def __init__(self, parent: QObject, plot: PlotView, x: Axis, y: Axis, marks: Marks) -> None:
        super().__init__(parent)
        self._plot, self._x_axis, self._y_axis, self._marks = plot, x, y, marks
        self._series: tuple[Series, ...] = ()
        self.x: float | None = None
        self._point: Point | None = None
        self._is_hovered = False
        self._line = pg.InfiniteLine(angle=90)
        self._line.setZValue(30)
        self._line.hide()
        plot.box.addItem(self._line, ignoreBounds=True)
        plot.hovered.connect(self._hover)
        plot.left.connect(self.leave)
        plot.clicked.connect(self._click)

    def put_on(self, theme: Theme) -> None:
        self._line.setPen(solid_pen(theme.ink))

    def set_series(self, series: tuple[Series, ...]) -> None:
        self._series = series
        if self._point is not None and self._find(self._point) is None:
            self._point = None
        self._show()

    def readings(self) -> tuple[Reading, ...]:
        return () if self.x is None else read_at(self._series, self.x, self._y_axis, self._point)

    def put(self, x: float | None) -> None:
        """Tells nobody that the user moved it."""
        self.x = None if x is None or not math.isfinite(x) else x
        self._point, self._is_hovered = None, False
        self._show()

    def move(self, x: float, point: Point | None = None) -> None:
        self.x = x if math.isfinite(x) else None
        self._point, self._is_hovered = point, False
        self._show()
        self.moved.emit(x)

    def step(self, way: Way, *, is_big: bool = False) -> bool:
        """To the next sample at least a pixel away, or to the next point. Whether there was somewhere to go."""
        if self._has_points():
            point = next_point(self._series, self._point, way)
            found = None if point is None else self._find(point)
            if point is None or found is None:
                return False
            self.move(float(found.x[point[1]]), point)
            return True
        if way in ("up", "down"):
            return False
        is_after = way == "right"
        ahead = self._plot.pixel_width() * (_BIG_STEP_PX if is_big else 0.999) * (1 if is_after else -1)
        if self.x is None:
            start = self._plot.ranges()[0][0 if is_after else 1] - ahead
        else:
            start = float(self._x_axis.to_view(self.x)) + ahead
        x = next_x(self._series, self._x_axis.from_view(start), is_after=is_after)
        if x is None and is_big:
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

    def choose(self) -> bool:
        """What is looked at. Whether there was something."""
        if self.x is None:
            return False
        if self._point is not None:
            self.chosen.emit(*self._point)
            return True
        for one in self._series:
            index = one.nearest(self.x)
            if index is not None:
                self.chosen.emit(one.key, index)
                return True
        return False

    def _has_points(self) -> bool:
        return any(one.kind == "points" and len(one.x) for one in self._series)

    def _find(self, point: Point) -> Series | None:
        found = next((one for one in self._series if one.key == point[0]), None)
        return found if found is not None and point[1] < len(found.x) else None

    def _show(self) -> None:
        place = math.nan if self.x is None else float(self._x_axis.to_view(self.x))
        self._line.setVisible(math.isfinite(place))
        if math.isfinite(place):
            self._line.setPos(place)
        before, self._marks.spot = self._marks.spot, self._spot()
        if before != self._marks.spot:
            self._plot.scene().update()
        self.changed.emit()

    def _spot(self) -> Spot | None:
        if self._point is None:
            return None
        one = self._find(self._point)
        index = self._point[1]
        if one is None or one.kind != "points":
            return None
        text = one.names[index] if one.names else one.label
        return Spot(float(one.x[index]), float(one.y[index]), text)

    def _hover(self, x: float, y: float) -> None:
        point = self._near(x, y, points_only=True) if self._has_points() else None
        one = None if point is None else self._find(point)
        at = self._x_axis.from_view(x) if one is None or point is None else float(one.x[point[1]])
        self.move(at, point)
        self._is_hovered = True

    def leave(self) -> None:
        """The mouse goes, and the crosshair with it where it was the mouse's."""
        if self._is_hovered:
            self.move(math.nan)

    def _click(self, x: float, y: float) -> None:
        found = self._near(x, y, points_only=False)
        if found is not None:
            self.chosen.emit(*found)

    def _near(self, x: float, y: float, *, points_only: bool) -> Point | None:
        at = self._plot.pixel_of(x, y)
        sides = [self._plot.place_of(at + QPointF(side * REACH_PX, 0)).x() for side in (-1, 1)]
        series = [one for one in self._series if one.kind == "points" or not points_only]
        reach = (self._x_axis.from_view(sides[0]), self._x_axis.from_view(sides[1]))
        return nearest_point(series, at, self._pixel_of, reach)

    def _pixel_of(self, x: float, y: float) -> QPointF:
        return self._plot.pixel_of(float(self._x_axis.to_view(x)), float(self._y_axis.to_view(y)))
