"""A chart of lines, points and intervals, with a crosshair and the same data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import SIGNAL, QPointF, QTimer, Signal
from PySide6.QtGui import QAction, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QMenu

from app.gui.charts.axes import Axis
from app.gui.charts.crosshair import Crosshair
from app.gui.charts.curves import Curves, Points
from app.gui.charts.key import Entry
from app.gui.charts.keys import Keys
from app.gui.charts.layer import Layer
from app.gui.charts.marks import Band, Mark, Marks, Overlay, Region, Underlay
from app.gui.charts.panel import Panel
from app.gui.charts.reading import Reading
from app.gui.charts.series import Bounds, Series, around, bounds_of, make_series
from app.gui.charts.table import frame_of
from app.gui.charts.viewing import Viewing
from app.gui.charts.wording import chart_text, notes_text, place_text, reading_text
from app.gui.formatting import State
from app.gui.theme import Look, Theme

if TYPE_CHECKING:
    import pandas as pd

Values = Sequence[float] | npt.NDArray[np.generic]


class Chart(Panel):
    """`x` and `y` of a series are numpy arrays; NaN is a gap. `series` picks colour, dash and marker together.

    What is given is copied, and drawn on the next turn of the event loop, all at once, and only while it is seen.
    """

    point_chosen = Signal(str, int)
    crosshair_moved = Signal(float)
    """By the user, in the axis's own values; NaN where it goes."""
    marker_wanted = Signal(float)
    range_changed = Signal(float, float)
    """By the user, in the axis's own values."""
    fit_wanted = Signal()
    data_changed = Signal()
    span_drawn = Signal(float, float, bool)
    """While a stretch of x is drawn, and (true) when it is done."""

    def __init__(self, title: str, x: Axis, y: Axis, look: Look) -> None:
        super().__init__(title, x, y, look)
        self._series: dict[str, Series] = {}
        self._hidden: set[str] = set()
        self._bounds: dict[str, Bounds] = {}
        self._changed: set[str] = set()
        self._is_settled = False
        self.marks = Marks()
        self._underlay = Underlay(self.marks, self.plot.x_axis, self.plot.y_axis, look.theme)
        self._overlay = Overlay(self.marks, self.plot.x_axis, self.plot.y_axis, look.theme)
        self._curves = Curves(self.plot.x_axis, self.plot.y_axis, look.theme)
        self._points = Points(self.plot.box, x, y)
        self._layers: tuple[Layer, ...] = (self._underlay, self._curves, self._overlay)
        for layer, height in zip(self._layers, (-20, 0, 20), strict=True):
            self.plot.add_layer(layer, height)
        self.viewing = Viewing(self, self.plot, x, y, self.marks)
        self.crosshair = Crosshair(self, self.plot, x, y, self.marks)
        self.keys = Keys(self, self.plot, x, self.crosshair, self.viewing)
        self._settle_soon = QTimer(self, singleShot=True, interval=0)
        self._settle_soon.timeout.connect(self._settle_if_seen)
        self._connect()
        self.restyle(look.theme)

    def _connect(self) -> None:
        self.viewing.changed.connect(self._range_shown)
        self.viewing.changed_by_user.connect(self._tell_range)
        self.crosshair.changed.connect(self._read)
        self.crosshair.moved.connect(self.crosshair_moved)
        self.crosshair.chosen.connect(self.point_chosen)
        self.keys.marker_wanted.connect(self.marker_wanted)
        self.keys.fit_wanted.connect(self.fit_wanted)
        self.keys.span_drawn.connect(self.span_drawn)
        self.plot.span_drawn.connect(self._draw_span)
        self.plot.resized.connect(self._range_shown)

    # What is drawn

    def set_line(
        self,
        key: str,
        label: str,
        x: Values,
        y: Values,
        *,
        series: int = 0,
        hollow: bool = False,
        steps: bool = False,
    ) -> None:
        """`steps`: each value stands until the next one."""
        marks = np.ones(len(x), dtype=bool) if hollow else None
        self._set(make_series(key, label, "line", series, x, y, hollow=marks, is_stepped=steps))

    def set_points(
        self,
        key: str,
        label: str,
        x: Values,
        y: Values,
        *,
        series: int = 0,
        hollow: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """`hollow` and `names` have one entry a point."""
        self._set(make_series(key, label, "points", series, x, y, hollow=hollow, names=tuple(names)))

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

    def set_span(self, span: tuple[float, float] | None) -> None:
        """A chosen stretch of x, in the axis's own values; its edges can be dragged."""
        self.marks.span = span
        places = None if span is None else self.x_axis.to_view(span)
        self.plot.span = None if places is None else (float(places[0]), float(places[1]))
        self._underlay.update()

    def remove(self, key: str) -> None:
        if self._series.pop(key, None) is None:
            return
        self._bounds.pop(key)
        self._touch()

    def clear(self) -> None:
        """Of everything that was set."""
        for key in tuple(self._series):
            self.remove(key)
        self.marks.bands, self.marks.marks, self.marks.region, self.marks.limit = (), (), None, None
        self.set_crosshair(None)
        self.viewing.fit()
        self._touch()

    def hide_series(self, key: str, hidden: bool) -> None:
        """Until it is asked for again, whatever is set meanwhile."""
        if hidden:
            self._hidden.add(key)
        else:
            self._hidden.discard(key)
        self._changed.add(key)
        self._touch()

    def series(self) -> tuple[Series, ...]:
        """Those that are shown."""
        return tuple(one for key, one in self._series.items() if key not in self._hidden)

    def frame(self) -> pd.DataFrame:
        return frame_of(self.series(), self.x_axis, self.y_axis)

    def data_range(self) -> Bounds:
        """Of all that is shown, in the view's places."""
        return around([bounds for key, bounds in self._bounds.items() if key not in self._hidden])

    def pixel_of(self, x: float, y: float) -> QPointF:
        """Of values of the axes, in the plot's viewport."""
        return self.plot.pixel_of(float(self.x_axis.to_view(x)), float(self.y_axis.to_view(y)))

    def x_range(self) -> tuple[float, float]:
        """In view, in the axis's own values."""
        return self.viewing.x_range()

    def set_x_range(self, low: float, high: float) -> None:
        self.viewing.set_x_range(low, high)

    def set_crosshair(self, x: float | None) -> None:
        """In the axis's own values; tells nobody."""
        self.crosshair.put(x)

    def readout(self) -> tuple[Reading, ...]:
        """What every series says at the crosshair."""
        return self.crosshair.readings()

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

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.settle()

    def _settle_if_seen(self) -> None:
        if self.isVisible():
            self.settle()

    def settle(self) -> None:
        if self._is_settled:
            return
        self._is_settled = True
        self._settle_soon.stop()
        shown = self._series.keys() - self._hidden
        for drawn in (self._curves, self._points):
            drawn.keep(shown)
        for key in (key for key in self._series if key in self._changed & shown):
            if self._series[key].kind == "points":
                self._points.put(self._series[key], self.look.theme)
            else:
                self._curves.put(self._series[key])
        self._changed.clear()
        self.viewing.moves_y = any(one.kind == "points" for one in self._series.values())
        self.viewing.set_bounds(self.data_range())
        self._range_shown()
        self.crosshair.set_series(self.series())
        self.refresh_table()
        self.data_changed.emit()

    def restyle(self, theme: Theme) -> None:
        for layer in self._layers:
            layer.theme, layer.font = theme, self.small_font()
        self.crosshair.put_on(theme)
        self._changed.update(self._series)
        self._touch()

    def _range_shown(self) -> None:
        self.plot.repaint_layers()
        self._show_key()

    def _tell_range(self) -> None:
        self.range_changed.emit(*self.viewing.x_range())

    # In words

    def _read(self) -> None:
        self._show_key()
        self.refresh_description()

    def _show_key(self) -> None:
        texts = {reading.key: reading.text for reading in self.readout()}
        entries = tuple(self._entry(one, texts.get(one.key, "")) for one in self.series())
        axis = self.y_axis.unit if self.title == self.y_axis.label else self.y_axis.text
        if self.crosshair.x is not None:
            axis = f"{axis} at {self._place_text(self.crosshair.x)}".strip()
        self.key.show_entries(axis, entries)
        self.place_key()

    def _entry(self, one: Series, value: str) -> Entry:
        is_hollow = one.hollow is not None and len(one.x) > 0 and bool(one.hollow.all())
        is_dashed = self._curves.is_dashed(one.key, float(self.plot.box.width()))
        return Entry(one.label, one.kind, one.series, is_hollow=is_hollow, is_dashed=is_dashed, value=value)

    def _place_text(self, x: float) -> str:
        return place_text(x, self.marks, self.plot.x_axis, 4 * self.plot.pixel_width())

    def describe(self) -> str:
        readings = self.readout()
        if self.crosshair.x is not None and readings:
            return reading_text(self._place_text(self.crosshair.x), readings)
        return chart_text(self.series(), self.x_axis, self.y_axis, self.data_range(), self.notes())

    def notes(self) -> str:
        return notes_text(self.marks, self.plot.x_axis)

    # Mouse and keyboard

    def fill_menu(self, menu: QMenu) -> None:
        menu.addAction("Zoom &in\t+", lambda: self.keys.zoom(is_in=True))
        menu.addAction("Zoom &out\t−", lambda: self.keys.zoom(is_in=False))
        menu.addAction("Show &everything\tHome").triggered.connect(self.keys.show_everything)
        if self.crosshair.x is not None and self.receivers(SIGNAL("marker_wanted(double)")):
            menu.addAction("Add a &marker here\tM").triggered.connect(self.keys.want_marker)
        if len(self._series) > 1:
            shown = menu.addMenu("&Lines shown")
            for key, one in self._series.items():
                action = shown.addAction(one.label.replace("&", "&&"))
                action.setCheckable(True)
                action.setChecked(key not in self._hidden)
                action.setData(key)
            shown.triggered.connect(self._toggle_series)
        menu.addSeparator()

    def _toggle_series(self, action: QAction) -> None:
        self.hide_series(str(action.data()), not action.isChecked())

    def _draw_span(self, start: float, end: float, is_done: bool) -> None:
        self.span_drawn.emit(self.x_axis.from_view(start), self.x_axis.from_view(end), is_done)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self.is_plot and self.keys.take(event):
            event.accept()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self.keys.release(event):
            super().keyReleaseEvent(event)
