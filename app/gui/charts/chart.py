"""Line and point chart with a crosshair and the same data as a table."""

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
    """Line and point chart. `x` and `y` of a series are numpy arrays, with NaN as a gap; `series` selects color, dash
    and marker together.

    Data are copied on assignment. All pending changes are drawn together on the next turn of the event loop, and only
    while the chart is visible.
    """

    point_chosen = Signal(str, int)
    crosshair_moved = Signal(float)
    """Emitted when the user moves the crosshair: x in data values; NaN when the crosshair disappears."""
    marker_wanted = Signal(float)
    range_changed = Signal(float, float)
    """Emitted when the user changes the x range: both ends in data values."""
    fit_wanted = Signal()
    data_changed = Signal()
    span_drawn = Signal(float, float, bool)
    """Emitted while the user selects an x range, and with `True` when the selection is finished."""

    def __init__(self, title: str, x: Axis, y: Axis, look: Look) -> None:
        super().__init__(title, x, y, look)
        self._series: dict[str, Series] = {}
        self._hidden: set[str] = set()
        self._bounds: dict[str, Bounds] = {}
        self._changed: set[str] = set()
        self._is_up_to_date = False
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
        self._update_timer = QTimer(self, singleShot=True, interval=0)
        self._update_timer.timeout.connect(self._update_if_visible)
        self._connect()
        self.restyle(look.theme)

    def _connect(self) -> None:
        self.viewing.changed.connect(self._on_range_changed)
        self.viewing.changed_by_user.connect(self._emit_range)
        self.crosshair.changed.connect(self._update_reading)
        self.crosshair.moved.connect(self.crosshair_moved)
        self.crosshair.chosen.connect(self.point_chosen)
        self.keys.marker_wanted.connect(self.marker_wanted)
        self.keys.fit_wanted.connect(self.fit_wanted)
        self.keys.span_drawn.connect(self.span_drawn)
        self.plot.span_drawn.connect(self._draw_span)
        self.plot.resized.connect(self._on_range_changed)

    # Data

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
        """Add or replace a line. With `steps`, each value holds until the next sample."""
        marks = np.ones(len(x), dtype=bool) if hollow else None
        self._set_series(make_series(key, label, "line", series, x, y, hollow=marks, is_stepped=steps))

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
        """Add or replace a series of points. `hollow` and `names` have one entry per point."""
        self._set_series(make_series(key, label, "points", series, x, y, hollow=hollow, names=tuple(names)))

    def set_limit(self, value: float | None, label: str = "") -> None:
        self.marks.limit, self.marks.limit_label = value, label
        self._schedule_update()

    def set_region(self, x0: float | None, x1: float | None, y0: float | None, y1: float | None, label: str) -> None:
        """Shade a region; `None` extends it to the edge of the plot."""
        self.marks.region = Region(x0, x1, y0, y1, label)
        self._schedule_update()

    def clear_region(self) -> None:
        self.marks.region = None
        self._schedule_update()

    def set_bands(self, bands: Sequence[tuple[float, float, str, State]]) -> None:
        self.marks.bands = tuple(Band(*band) for band in bands)
        self._schedule_update()

    def set_markers(self, markers: Sequence[tuple[float, str]]) -> None:
        self.marks.marks = tuple(Mark(*marker) for marker in markers)
        self._schedule_update()

    def set_span(self, span: tuple[float, float] | None) -> None:
        """Show the selected x range, in data values; its edges can be dragged."""
        self.marks.span = span
        places = None if span is None else self.x_axis.to_view(span)
        self.plot.span = None if places is None else (float(places[0]), float(places[1]))
        self._underlay.update()

    def remove(self, key: str) -> None:
        if self._series.pop(key, None) is None:
            return
        self._bounds.pop(key)
        self._schedule_update()

    def clear(self) -> None:
        """Remove all series, bands, markers, the region and the limit, and fit the view."""
        for key in tuple(self._series):
            self.remove(key)
        self.marks.bands, self.marks.marks, self.marks.region, self.marks.limit = (), (), None, None
        self.set_crosshair(None)
        self.viewing.fit()
        self._schedule_update()

    def hide_series(self, key: str, hidden: bool) -> None:
        """Hide or show a series. The choice persists even if the series is set again."""
        if hidden:
            self._hidden.add(key)
        else:
            self._hidden.discard(key)
        self._changed.add(key)
        self._schedule_update()

    def series(self) -> tuple[Series, ...]:
        """Return the visible series."""
        return tuple(series for key, series in self._series.items() if key not in self._hidden)

    def frame(self) -> pd.DataFrame:
        return frame_of(self.series(), self.x_axis, self.y_axis)

    def data_range(self) -> Bounds:
        """Return the bounds of all visible series, in view coordinates."""
        return around([bounds for key, bounds in self._bounds.items() if key not in self._hidden])

    def pixel_of(self, x: float, y: float) -> QPointF:
        """Return the pixel of a pair of data values, in the plot's viewport."""
        return self.plot.pixel_of(float(self.x_axis.to_view(x)), float(self.y_axis.to_view(y)))

    def x_range(self) -> tuple[float, float]:
        """Return the visible x range, in data values."""
        return self.viewing.x_range()

    def set_x_range(self, low: float, high: float) -> None:
        self.viewing.set_x_range(low, high)

    def set_crosshair(self, x: float | None) -> None:
        """Move the crosshair to `x` (in data values) without emitting `crosshair_moved`."""
        self.crosshair.put(x)

    def readout(self) -> tuple[Reading, ...]:
        """Return the reading of every series at the crosshair."""
        return self.crosshair.readings()

    def _set_series(self, series: Series) -> None:
        before = self._series.get(series.key)
        if before is not None and before.kind != series.kind:
            self.remove(series.key)
        self._series[series.key] = series
        self._bounds[series.key] = bounds_of(series, self.x_axis, self.y_axis)
        self._changed.add(series.key)
        self._schedule_update()

    def _schedule_update(self) -> None:
        self._is_up_to_date = False
        self._update_timer.start()

    # Drawing

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.settle()

    def _update_if_visible(self) -> None:
        if self.isVisible():
            self.settle()

    def settle(self) -> None:
        if self._is_up_to_date:
            return
        self._is_up_to_date = True
        self._update_timer.stop()
        visible_keys = self._series.keys() - self._hidden
        for group in (self._curves, self._points):
            group.keep(visible_keys)
        for key in (key for key in self._series if key in self._changed & visible_keys):
            if self._series[key].kind == "points":
                self._points.put(self._series[key], self.look.theme)
            else:
                self._curves.put(self._series[key])
        self._changed.clear()
        self.viewing.moves_y = any(series.kind == "points" for series in self._series.values())
        self.viewing.set_bounds(self.data_range())
        self._on_range_changed()
        self.crosshair.set_series(self.series())
        self.refresh_table()
        self.data_changed.emit()

    def restyle(self, theme: Theme) -> None:
        for layer in self._layers:
            layer.theme, layer.font = theme, self.small_font()
        self.crosshair.put_on(theme)
        self._changed.update(self._series)
        self._schedule_update()

    def _on_range_changed(self) -> None:
        self.plot.repaint_layers()
        self._show_key()

    def _emit_range(self) -> None:
        self.range_changed.emit(*self.viewing.x_range())

    # Texts

    def _update_reading(self) -> None:
        self._show_key()
        self.refresh_description()

    def _show_key(self) -> None:
        texts = {reading.key: reading.text for reading in self.readout()}
        entries = tuple(self._entry(series, texts.get(series.key, "")) for series in self.series())
        axis = self.y_axis.unit if self.title == self.y_axis.label else self.y_axis.text
        if self.crosshair.x is not None:
            axis = f"{axis} at {self._place_text(self.crosshair.x)}".strip()
        self.key.show_entries(axis, entries)
        self.place_key()

    def _entry(self, series: Series, value: str) -> Entry:
        is_hollow = series.hollow is not None and len(series.x) > 0 and bool(series.hollow.all())
        is_dashed = self._curves.is_dashed(series.key, float(self.plot.box.width()))
        return Entry(series.label, series.kind, series.series, is_hollow=is_hollow, is_dashed=is_dashed, value=value)

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
            submenu = menu.addMenu("&Lines shown")
            for key, series in self._series.items():
                action = submenu.addAction(series.label.replace("&", "&&"))
                action.setCheckable(True)
                action.setChecked(key not in self._hidden)
                action.setData(key)
            submenu.triggered.connect(self._toggle_series)
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
