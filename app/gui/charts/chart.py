"""A chart of lines, points and intervals, with a crosshair and the same data as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPointF, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QShowEvent

from app.gui.charts.axes import Axis
from app.gui.charts.drawing import Drawn
from app.gui.charts.fitting import fitted_x, fitted_y
from app.gui.charts.key import Entry
from app.gui.charts.marks import Band, Mark, Marks, Overlay, Region, Underlay
from app.gui.charts.panel import Panel
from app.gui.charts.pens import solid_pen
from app.gui.charts.reading import REACH_PX, Reading, nearest_point, read_at
from app.gui.charts.series import Bounds, Series, around, bounds_of, make_series
from app.gui.charts.table import frame_of
from app.gui.formatting import State, number
from app.gui.theme import Look, Theme
from app.gui.words import tr

if TYPE_CHECKING:
    import pandas as pd

_ZOOM = 0.8


class Chart(Panel):
    """`x` and `y` of a series are numpy arrays; NaN is a gap. `series` picks colour, dash and marker together.

    `crosshair_moved` says NaN where the crosshair goes.
    """

    point_chosen = Signal(str, int)
    crosshair_moved = Signal(float)
    marker_wanted = Signal(float)
    range_changed = Signal(float, float)
    """By the user, in the axis's own values."""
    fit_wanted = Signal()
    data_changed = Signal()
    span_drawn = Signal(float, float, bool)

    def __init__(self, title: str, x: Axis, y: Axis, look: Look) -> None:
        self._series: dict[str, Series] = {}
        self._bounds: dict[str, Bounds] = {}
        self._drawn: dict[str, Drawn] = {}
        self._changed: set[str] = set()
        self._is_settled = False
        self._is_fitted_x = self._is_fitted_y = True
        self.follows_link = False
        self.marks = Marks()
        self._crosshair: float | None = None
        self._readings: tuple[Reading, ...] = ()
        super().__init__(title, x, y, look)
        self._underlay = Underlay(self.marks, self.plot.x_axis, self.plot.y_axis, look.theme)
        self._overlay = Overlay(self.marks, self.plot.x_axis, self.plot.y_axis, look.theme)
        self._underlay.setZValue(-20)
        self._overlay.setZValue(20)
        self._cross = pg.InfiniteLine(angle=90, pen=solid_pen(look.theme.ink))
        self._cross.setZValue(30)
        self._cross.hide()
        for item in (self._underlay, self._overlay, self._cross):
            self.plot.box.addItem(item, ignoreBounds=True)
        self._settle_soon = QTimer(self)
        self._settle_soon.setSingleShot(True)
        self._settle_soon.setInterval(0)
        self._settle_soon.timeout.connect(self._settle_if_seen)
        self._connect_mouse()
        self.restyle(look.theme)

    def _connect_mouse(self) -> None:
        self.plot.hovered.connect(self._hover)
        self.plot.left.connect(self._leave)
        self.plot.clicked.connect(self._click)
        self.plot.panned.connect(self._pan)
        self.plot.zoomed.connect(self._zoom)
        self.plot.span_drawn.connect(self._draw_span)
        self.plot.resized.connect(self._mark_lines)

    # What is drawn

    def set_line(
        self,
        key: str,
        label: str,
        x: object,
        y: object,
        *,
        series: int = 0,
        hollow: bool = False,
        steps: bool = False,
    ) -> None:
        """`steps`: each value stands until the next one."""
        marks = [True] * len(x) if hollow else None  # type: ignore[arg-type]
        self._set(make_series(key, label, "line", series, x, y, hollow=marks, is_stepped=steps))

    def set_points(
        self,
        key: str,
        label: str,
        x: object,
        y: object,
        *,
        series: int = 0,
        hollow: object = None,
        names: Sequence[str] = (),
    ) -> None:
        """`hollow` and `names` have one entry a point."""
        self._set(make_series(key, label, "points", series, x, y, hollow=hollow, names=tuple(names)))

    def set_range(self, key: str, label: str, x: object, low: object, high: object, *, series: int = 0) -> None:
        self._set(make_series(key, label, "range", series, x, high, low=low))

    def set_limit(self, value: float | None, label: str = "") -> None:
        self.marks.limit, self.marks.limit_label = value, label
        self._touch()

    def set_region(self, x0: float | None, x1: float | None, y0: float | None, y1: float | None, label: str) -> None:
        """None reaches to the edge."""
        self.marks.region = Region(x0, x1, y0, y1, label)
        self._touch()

    def clear_region(self) -> None:
        self.marks.region = None
        self._touch()

    def set_bands(self, bands: Sequence[tuple[float, float, str, State]]) -> None:
        self.marks.bands = tuple(Band(*band) for band in bands)
        self._touch()

    def set_markers(self, markers: Sequence[tuple[float, str]]) -> None:
        self.marks.marks = tuple(Mark(*marker) for marker in markers)
        self._touch()

    def remove(self, key: str) -> None:
        if self._series.pop(key, None) is None:
            return
        self._bounds.pop(key)
        self._changed.discard(key)
        drawn = self._drawn.pop(key, None)
        if drawn is not None:
            drawn.remove()
        self._touch()

    def clear(self) -> None:
        """Of everything that was set."""
        for key in tuple(self._series):
            self.remove(key)
        self.marks.bands, self.marks.marks, self.marks.region, self.marks.limit = (), (), None, None
        self._is_fitted_x = self._is_fitted_y = True
        self.set_crosshair(None)
        self._touch()

    def series(self) -> tuple[Series, ...]:
        return tuple(self._series.values())

    def frame(self) -> pd.DataFrame:
        return frame_of(self.series(), self.x_axis, self.y_axis)

    def _set(self, series: Series) -> None:
        before = self._series.get(series.key)
        if before is not None and before.kind != series.kind:
            self.remove(series.key)
        self._series[series.key] = series
        self._bounds[series.key] = bounds_of(series, self.x_axis, self.y_axis)
        self._changed.add(series.key)
        self._touch()

    def _touch(self) -> None:
        self._is_settled = False
        self._settle_soon.start()

    # Into the plot

    def _settle_if_seen(self) -> None:
        if self.isVisible():
            self.settle()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.settle()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Polish:
            self.settle()
        return super().event(event)

    def settle(self) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        for key in self._changed:
            if key not in self._drawn:
                self._drawn[key] = Drawn(self.plot.box, self.x_axis, self.y_axis)
            self._drawn[key].draw(self._series[key], self.look.theme)
        self._changed.clear()
        self._fit()
        self._mark_lines()
        self._underlay.update()
        self._overlay.update()
        self._read()
        self.refresh_table()
        self.data_changed.emit()

    def restyle(self, theme: Theme) -> None:
        for layer in (self._underlay, self._overlay):
            layer.theme, layer.font = theme, self._small_font()
        self._cross.setPen(solid_pen(theme.ink))
        self._changed.update(self._series)
        self._touch()

    def _mark_lines(self) -> None:
        (low, high), _ = self.plot.ranges()
        for key, drawn in self._drawn.items():
            if key in self._series:
                drawn.mark_line(self._series[key], self.look.theme, low, high)

    # Ranges

    def data_range(self) -> Bounds:
        """Of all that is drawn, in the view's places."""
        return around(list(self._bounds.values()))

    def fit(self) -> None:
        """Everything drawn, in view."""
        self._is_fitted_x = self._is_fitted_y = True
        self._fit()
        self._after_range()

    def x_range(self) -> tuple[float, float]:
        """In the axis's own values."""
        low, high = self.plot.ranges()[0]
        return self.x_axis.from_view(low), self.x_axis.from_view(high)

    def set_x_range(self, low: float, high: float) -> None:
        places = self.x_axis.to_view([low, high])
        self._is_fitted_x = False
        self.plot.set_ranges(x=(float(places[0]), float(places[1])))
        self._after_range()

    def _fit(self) -> None:
        bounds = self.data_range()
        if self._is_fitted_x and not self.follows_link:
            self.plot.set_ranges(x=fitted_x(bounds, self.x_axis, self._bounds_of_marks()))
        if self._is_fitted_y:
            limit = None if self.marks.limit is None else float(self.y_axis.to_view(self.marks.limit))
            self.plot.set_ranges(y=fitted_y(bounds, self.y_axis, limit))

    def _bounds_of_marks(self) -> tuple[float, ...]:
        ends = [end for band in self.marks.bands for end in (band.start, band.end)]
        return tuple(float(place) for place in self.x_axis.to_view(ends) if math.isfinite(place))

    def _after_range(self) -> None:
        self._mark_lines()
        self._underlay.update()
        self._overlay.update()

    def _pan(self, across: float, up: float) -> None:
        (x0, x1), (y0, y1) = self.plot.ranges()
        self._is_fitted_x = self._is_fitted_y = False
        self.plot.set_ranges((x0 + across, x1 + across), (y0 + up, y1 + up))
        self._after_range()
        self.range_changed.emit(*self.x_range())

    def _zoom(self, factor: float, x: float, _: float) -> None:
        (x0, x1), _y = self.plot.ranges()
        self._is_fitted_x = False
        self.plot.set_ranges(x=(x + (x0 - x) * factor, x + (x1 - x) * factor))
        self._after_range()
        self.range_changed.emit(*self.x_range())

    # The crosshair

    @property
    def crosshair(self) -> float | None:
        return self._crosshair

    def set_crosshair(self, x: float | None) -> None:
        """In the axis's own values; tells nobody."""
        self._crosshair = None if x is None or not math.isfinite(x) else x
        place = math.nan if self._crosshair is None else float(self.x_axis.to_view(self._crosshair))
        self._cross.setVisible(math.isfinite(place))
        if math.isfinite(place):
            self._cross.setPos(place)
        self._read()

    def readout(self) -> tuple[Reading, ...]:
        """What every series says at the crosshair."""
        return self._readings

    def _read(self) -> None:
        at = self._crosshair
        self._readings = () if at is None else read_at(self.series(), at, self.y_axis)
        texts = {reading.key: reading.text for reading in self._readings}
        entries = tuple(
            Entry(
                one.label,
                one.kind,
                one.series,
                is_hollow=one.kind != "range" and one.hollow is not None and bool(one.hollow.all()) and len(one.x) > 0,
                value=texts.get(one.key, ""),
            )
            for one in self._series.values()
        )
        axis = self.y_axis.unit if self.title == self.y_axis.label else self.y_axis.text
        self.key.show_entries(axis, entries)
        self.setAccessibleDescription(self._said or self.describe())

    def describe(self) -> str:
        if self._crosshair is not None and self._readings:
            said = ", ".join(f"{reading.label} {reading.text}" for reading in self._readings)
            return tr("At {x}: {said}").format(x=number(self._crosshair), said=said)
        drawn = ", ".join(one.label for one in self._series.values()) or tr("nothing yet")
        return tr("{y} over {x}: {drawn}. Arrow keys read values, T shows a table.").format(
            y=self.y_axis.text, x=self.x_axis.text, drawn=drawn
        )

    def _move_crosshair(self, x: float) -> None:
        self.set_crosshair(x)
        self.crosshair_moved.emit(x)

    def _hover(self, x: float, _: float) -> None:
        self._move_crosshair(self.x_axis.from_view(x))

    def _leave(self) -> None:
        if self._crosshair is not None and not self.hasFocus():
            self._move_crosshair(math.nan)

    def _click(self, x: float, y: float) -> None:
        at = self.plot.pixel_of(x, y)
        sides = (self.plot.place_of(at + QPointF(side * REACH_PX, 0)).x() for side in (-1, 1))
        low, high = (self.x_axis.from_view(side) for side in sides)
        found = nearest_point(self.series(), at, self._pixel_of, (low, high))
        if found is not None:
            self.point_chosen.emit(*found)

    def _pixel_of(self, x: float, y: float) -> QPointF:
        return self.plot.pixel_of(float(self.x_axis.to_view(x)), float(self.y_axis.to_view(y)))

    def _draw_span(self, start: float, end: float, is_done: bool) -> None:
        self.span_drawn.emit(self.x_axis.from_view(start), self.x_axis.from_view(end), is_done)

    # The keyboard

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            self._step(is_after=key == Qt.Key.Key_Right)
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            (x0, x1), _ = self.plot.ranges()
            middle = (x0 + x1) / 2 if self._crosshair is None else float(self.x_axis.to_view(self._crosshair))
            self._zoom(1 / _ZOOM if key == Qt.Key.Key_Minus else _ZOOM, middle, 0.0)
        elif key == Qt.Key.Key_Home:
            self.fit()
            self.fit_wanted.emit()
        elif key == Qt.Key.Key_M and self._crosshair is not None:
            self.marker_wanted.emit(self._crosshair)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._crosshair is not None:
            self._choose()
        else:
            super().keyPressEvent(event)

    def _step(self, *, is_after: bool) -> None:
        (x0, x1), _ = self.plot.ranges()
        pixel = (x1 - x0) / max(self.plot.box.width(), 1.0)
        if self._crosshair is None:
            start = x0 - pixel if is_after else x1 + pixel
        else:
            start = float(self.x_axis.to_view(self._crosshair)) + (pixel if is_after else -pixel) * 0.999
        near = [one.beyond(self.x_axis.from_view(start), is_after=is_after) for one in self._series.values()]
        found = [x for x in near if x is not None]
        if found:
            self._move_crosshair(min(found) if is_after else max(found))

    def _choose(self) -> None:
        for one in self._series.values():
            index = None if self._crosshair is None or one.kind == "range" else one.nearest(self._crosshair)
            if index is not None:
                self.point_chosen.emit(one.key, index)
                return
