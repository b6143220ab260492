"""Chart of lines and points, with a crosshair and a table of the same data."""

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
from app.gui.charts.decorations import Band, Decorations, Interval, Marker, Overlay, Underlay
from app.gui.charts.descriptions import describe_chart, describe_decorations, describe_position, describe_readings
from app.gui.charts.key_bindings import ChartKeyBindings
from app.gui.charts.labels import Label, LabelLayer
from app.gui.charts.layer import Layer
from app.gui.charts.legend import LegendEntry
from app.gui.charts.line_labels import can_label_ends
from app.gui.charts.panel import Panel
from app.gui.charts.pens import Category, entity_style
from app.gui.charts.reading import Reading
from app.gui.charts.series import Bounds, Series, compute_bounds, make_series, union_bounds
from app.gui.charts.table import build_frame
from app.gui.charts.view_range import ViewRange
from app.gui.formatting import State
from app.gui.theme import Theme, ThemeController
from reports.sections.figure import LineFigure

if TYPE_CHECKING:
    import pandas as pd

Values = Sequence[float] | npt.NDArray[np.generic]


class Chart(Panel):
    """Chart of lines and points. A NaN in the x or y values of a series is a gap. The
    `style_index` of a line or a set of points selects a combination of color, dash pattern and
    marker.

    Data is copied on assignment. All pending changes are drawn together in the next iteration of
    the event loop, and only while the chart is visible.
    """

    point_selected = Signal(str, int)
    crosshair_moved = Signal(float)
    """Signal that is emitted with the x value, in data values, when the user moves the crosshair,
    and with NaN when the crosshair disappears."""
    marker_requested = Signal(float)
    range_changed = Signal(float, float)
    """Signal that is emitted with both ends of the visible x range, in data values, when the user
    pans or zooms."""
    fit_requested = Signal()
    data_changed = Signal()
    time_range_drawn = Signal(float, float, bool)
    """Signal that is emitted while the user selects a time range, with both ends in data values;
    the flag is `True` when the selection is finished."""

    def __init__(self, title: str, x_axis: Axis, y_axis: Axis, theme_controller: ThemeController) -> None:
        super().__init__(title, x_axis, y_axis, theme_controller)
        self._series_by_key: dict[str, Series] = {}
        self._hidden_keys: set[str] = set()
        self._bounds_by_key: dict[str, Bounds] = {}
        self._intervals_by_key: dict[str, Interval] = {}
        self._interval_bounds_by_key: dict[str, Bounds] = {}
        self._changed_keys: set[str] = set()
        self._is_up_to_date = False
        self.shared_labels_px: float | None = None
        """Width of the names at the ends of lines in all linked charts; None in a chart of its own."""
        self.decorations = Decorations()
        self._underlay = Underlay(self.decorations, self.plot.x_axis, self.plot.y_axis, theme_controller.theme)
        self._overlay = Overlay(self.decorations, self.plot.x_axis, self.plot.y_axis, theme_controller.theme)
        self._curves = Curves(self.plot.x_axis, self.plot.y_axis, theme_controller.theme)
        self._points = Points(self.plot.box, x_axis, y_axis)
        self.labels = LabelLayer(self.decorations, self.plot.x_axis, self.plot.y_axis, theme_controller.theme)
        self._legend_entries: tuple[LegendEntry, ...] | None = None
        self._layers: tuple[Layer, ...] = (self._underlay, self._curves, self.labels, self._overlay)
        for layer, z in zip(self._layers, (-20, 0, 10, 20), strict=True):
            self.plot.add_layer(layer, z)
        self.view_range = ViewRange(self, self.plot, x_axis, y_axis, self.decorations)
        self.crosshair = Crosshair(self, self.plot, x_axis, y_axis, self.decorations)
        self.key_bindings = ChartKeyBindings(self, self.plot, x_axis, self.crosshair, self.view_range)
        self._update_timer = QTimer(self, singleShot=True, interval=0)
        self._update_timer.timeout.connect(self._update_if_visible)
        self._connect()
        self.restyle(theme_controller.theme)

    def _connect(self) -> None:
        self.view_range.changed.connect(self._on_range_changed)
        self.view_range.changed_by_user.connect(self._emit_x_range)
        self.crosshair.changed.connect(self._update_reading)
        self.crosshair.moved.connect(self.crosshair_moved)
        self.crosshair.sample_selected.connect(self.point_selected)
        self.key_bindings.marker_requested.connect(self.marker_requested)
        self.key_bindings.fit_requested.connect(self.fit_requested)
        self.key_bindings.time_range_drawn.connect(self.time_range_drawn)
        self.plot.time_range_drawn.connect(self._emit_time_range)
        self.plot.resized.connect(self._on_range_changed)

    # Data

    def set_line(
        self,
        key: str,
        label: str,
        x: Values,
        y: Values,
        *,
        style_index: int = 0,
        is_hollow: bool = False,
        is_stepped: bool = False,
    ) -> None:
        """Add or replace a line. If `is_hollow` is true, the markers are not filled. If
        `is_stepped` is true, each value is in effect until the next sample."""
        hollow_flags = np.ones(len(x), dtype=bool) if is_hollow else None
        self._set_series(
            make_series(key, label, "line", style_index, x, y, hollow_flags=hollow_flags, is_stepped=is_stepped)
        )

    def show_figure(self, figure: LineFigure | None, missing_text: str) -> None:
        """Replace the lines of the chart by those of a figure, or by a text if there is none."""
        self.clear()
        lines = () if figure is None else figure.lines
        keys = [line.key for line in lines]
        for line in lines:
            style_index = entity_style(line.key, keys) if line.style_index is None else line.style_index
            is_stepped = figure is not None and figure.is_stepped
            x, y = np.array(line.x, dtype=np.float64), np.array(line.y, dtype=np.float64)
            self.set_line(line.key, line.short_name or line.name, x, y, style_index=style_index, is_stepped=is_stepped)
            if any(line.intervals):
                low, high = zip(*(interval or (np.nan, np.nan) for interval in line.intervals), strict=True)
                self.set_interval(line.key, x, low, high, style_index=style_index)
        if figure is not None and figure.limit_axis == "y":
            self.set_limit(figure.limit, figure.limit_label)
        self.set_message("" if lines else missing_text)

    def set_points(
        self,
        key: str,
        label: str,
        x: Values,
        y: Values,
        *,
        style_index: int = 0,
        hollow_flags: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
        names: Sequence[str] = (),
        category: Category | None = None,
    ) -> None:
        """Add or replace a series of points. `hollow_flags` and `names` have one entry per point;
        hollow points are not filled. `category` replaces the color and the marker of
        `style_index`."""
        self._set_series(
            make_series(
                key, label, "points", style_index, x, y,
                hollow_flags=hollow_flags, names=tuple(names), category=category,
            )
        )  # fmt: skip

    def set_labels(self, labels: Sequence[Label], other_points: Sequence[tuple[float, float]] = ()) -> None:
        """Label points directly. Labels overlap neither each other nor the labeled points, and
        cover as few of the other points as possible."""
        self.labels.labels, self.labels.other_points = tuple(labels), tuple(other_points)
        self._schedule_update()

    def set_legend_entries(self, entries: Sequence[LegendEntry]) -> None:
        """Show these entries in the legend instead of one entry per series of points. Lines keep
        their entries."""
        self._legend_entries = tuple(entries)
        self._schedule_update()

    def set_interval(self, key: str, x: Values, low: Values, high: Values, *, style_index: int = 0) -> None:
        """Shade the confidence intervals along a line, between a lower and an upper bound at each x
        value. They are removed together with the line `key`."""
        lower, upper = (make_series(key, "", "line", style_index, x, edge) for edge in (low, high))
        self._intervals_by_key[key] = Interval(lower.x, lower.y, upper.y, style_index)
        bounds = [compute_bounds(edge, self.x_axis, self.y_axis) for edge in (lower, upper)]
        self._interval_bounds_by_key[key] = union_bounds(bounds)
        self._schedule_update()

    def set_limit(self, value: float | None, label: str = "") -> None:
        self.decorations.limit, self.decorations.limit_label = value, label
        self._schedule_update()

    def set_region(self, x0: float | None, x1: float | None, y0: float | None, y1: float | None, label: str) -> None:
        """Shade the region between two x and two y values. A bound of `None` extends the region to
        the edge of the plot."""
        self.decorations.region = Bounds(*(np.nan if end is None else end for end in (x0, x1, y0, y1)))
        self.decorations.region_label = label
        self._schedule_update()

    def clear_region(self) -> None:
        self.decorations.region = None
        self._schedule_update()

    def set_bands(self, bands: Sequence[tuple[float, float, str, State]]) -> None:
        self.decorations.bands = tuple(Band(*band) for band in bands)
        self._schedule_update()

    def set_spans(self, spans: Sequence[tuple[float, float, str]]) -> None:
        """Shade ranges of x values, given as (start, end, label)."""
        self.decorations.spans = tuple(spans)
        self._schedule_update()

    def set_markers(self, markers: Sequence[tuple[float, str]]) -> None:
        self.decorations.markers = tuple(Marker(*marker) for marker in markers)
        self._schedule_update()

    def set_time_range(self, time_range: tuple[float, float] | None) -> None:
        """Show the selected time range, in data values, with edges that can be dragged. `None`
        removes the time range."""
        self.decorations.time_range = time_range
        positions = None if time_range is None else self.x_axis.to_view(time_range)
        self.plot.time_range = None if positions is None else (float(positions[0]), float(positions[1]))
        self._underlay.update()

    def remove(self, key: str) -> None:
        self._intervals_by_key.pop(key, None)
        self._interval_bounds_by_key.pop(key, None)
        if self._series_by_key.pop(key, None) is None:
            return
        self._bounds_by_key.pop(key)
        self._schedule_update()

    def clear(self) -> None:
        """Remove all series, bands and markers, the shaded region and the limit; hide the
        crosshair, and fit the view to the data."""
        for key in tuple(self._series_by_key):
            self.remove(key)
        self._intervals_by_key.clear()
        self._interval_bounds_by_key.clear()
        self.decorations.bands, self.decorations.markers, self.decorations.spans = (), (), ()
        self.decorations.region = self.decorations.limit = None
        self.set_labels(())
        self.set_crosshair(None)
        self.view_range.fit()
        self._schedule_update()

    def hide_series(self, key: str, is_hidden: bool) -> None:
        """Hide or show the series `key`. The setting also applies to a later series with the same
        key."""
        if is_hidden:
            self._hidden_keys.add(key)
        else:
            self._hidden_keys.discard(key)
        self._changed_keys.add(key)
        self._schedule_update()

    def series(self) -> tuple[Series, ...]:
        """Return the visible series."""
        return tuple(series for key, series in self._series_by_key.items() if key not in self._hidden_keys)

    def frame(self) -> pd.DataFrame:
        return build_frame(self.series(), self.x_axis, self.y_axis)

    def data_bounds(self) -> Bounds:
        """Return the range of the data of all visible series, in view coordinates."""
        by_key = (*self._bounds_by_key.items(), *self._interval_bounds_by_key.items())
        return union_bounds([bounds for key, bounds in by_key if key not in self._hidden_keys])

    def data_to_pixel(self, x: float, y: float) -> QPointF:
        """Convert a pair of data values to a pixel position in the viewport of the plot."""
        return self.plot.view_to_pixel(float(self.x_axis.to_view(x)), float(self.y_axis.to_view(y)))

    def x_range(self) -> tuple[float, float]:
        """Return the visible x range, in data values."""
        return self.view_range.x_range()

    def set_x_range(self, low: float, high: float) -> None:
        self.view_range.set_x_range(low, high)

    def set_crosshair(self, x: float | None) -> None:
        """Move the crosshair to `x` (in data values) without emitting `crosshair_moved`. `None`
        hides the crosshair."""
        self.crosshair.set_position(x)

    def readings(self) -> tuple[Reading, ...]:
        """Return the readings of the visible series at the crosshair; empty if the crosshair is
        hidden."""
        return self.crosshair.readings()

    def _set_series(self, series: Series) -> None:
        previous_series = self._series_by_key.get(series.key)
        if previous_series is not None and previous_series.kind != series.kind:
            self.remove(series.key)
        self._series_by_key[series.key] = series
        self._bounds_by_key[series.key] = compute_bounds(series, self.x_axis, self.y_axis)
        self._changed_keys.add(series.key)
        self._schedule_update()

    def _schedule_update(self) -> None:
        self._is_up_to_date = False
        self._update_timer.start()

    # Drawing

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.apply_changes()

    def _update_if_visible(self) -> None:
        if self.isVisible():
            self.apply_changes()

    def apply_changes(self) -> None:
        if self._is_up_to_date:
            return
        self._is_up_to_date = True
        self._update_timer.stop()
        visible_keys = self._series_by_key.keys() - self._hidden_keys
        self._curves.remove_all_except(visible_keys)
        visible_series = [series for key, series in self._series_by_key.items() if key in visible_keys]
        points = [series for series in visible_series if series.kind == "points"]
        self._points.set_series(points, self.theme_controller.theme)
        for series in visible_series:
            if series.kind != "points" and series.key in self._changed_keys:
                self._curves.set_series(series)
        self._changed_keys.clear()
        self.decorations.intervals = {
            key: interval for key, interval in self._intervals_by_key.items() if key in visible_keys
        }
        self.view_range.can_move_y = any(series.kind == "points" for series in self._series_by_key.values())
        self.view_range.set_bounds(self.data_bounds())
        self._on_range_changed()
        self.crosshair.set_series(self.series())
        self._label_lines()
        self.refresh_table()
        self.data_changed.emit()

    def _label_lines(self) -> None:
        """Name the lines at their ends if they are few, instead of in the legend."""
        series = self.series()
        has_end_labels = can_label_ends(series, self.x_axis)
        self._curves.are_lines_named = has_end_labels or len(series) == 1
        self.plot.line_labels.set_series(series if has_end_labels else ())
        self.fit_line_labels()
        self._update_legend()

    def fit_line_labels(self) -> None:
        """Set the width of the names at the ends of lines; linked charts have the same width."""
        self.plot.line_labels.set_width(self.line_labels_px if self.shared_labels_px is None else self.shared_labels_px)

    @property
    def line_labels_px(self) -> float:
        """Width that the names at the ends of lines need, in pixels."""
        return self.plot.line_labels.preferred_width(float(self.plot.width()))

    def restyle(self, theme: Theme) -> None:
        for layer in self._layers:
            layer.theme, layer.font = theme, self.small_font()
        self.crosshair.apply_theme(theme)
        self._changed_keys.update(self._series_by_key)
        self._schedule_update()

    def _on_range_changed(self) -> None:
        self.plot.repaint_layers()
        self._update_legend()

    def _emit_x_range(self) -> None:
        self.range_changed.emit(*self.view_range.x_range())

    # Texts

    def _update_reading(self) -> None:
        self._update_legend()
        self.refresh_description()

    def _update_legend(self) -> None:
        texts = {reading.key: reading.text for reading in self.readings()}
        entries = tuple(
            self._build_legend_entry(series, texts.get(series.key, ""))
            for series in self.series()
            if self._legend_entries is None or series.kind == "line"
        )
        entries = (*(self._legend_entries or ()), *entries)
        axis_text = self.y_axis.unit if self.title == self.y_axis.label else self.y_axis.text
        if self.crosshair.x is not None:
            axis_text = f"{axis_text} at {self._describe_crosshair(self.crosshair.x)}".strip()
        self.legend.set_entries(axis_text, entries)
        self.legend.show_entries(not self.plot.line_labels.is_shown or self.crosshair.x is not None)
        self.place_legend()

    def _build_legend_entry(self, series: Series, value: str) -> LegendEntry:
        is_hollow = series.hollow_flags is not None and len(series.x) > 0 and bool(series.hollow_flags.all())
        is_dashed = self._curves.is_dashed(series.key, float(self.plot.box.width()))
        return LegendEntry(
            series.label, series.kind, series.style_index, is_hollow=is_hollow, is_dashed=is_dashed, value=value
        )

    def _describe_crosshair(self, x: float) -> str:
        return describe_position(x, self.decorations, self.plot.x_axis, 4 * self.plot.pixel_width())

    def describe(self) -> str:
        readings = self.readings()
        if self.crosshair.x is not None and readings:
            return describe_readings(self._describe_crosshair(self.crosshair.x), readings)
        return describe_chart(self.series(), self.x_axis, self.y_axis, self.data_bounds(), self.notes())

    def notes(self) -> str:
        return describe_decorations(self.decorations, self.plot.x_axis)

    # Mouse and keyboard

    def fill_menu(self, menu: QMenu) -> None:
        menu.addAction("Zoom &in\t+", lambda: self.key_bindings.zoom(is_zooming_in=True))
        menu.addAction("Zoom &out\t−", lambda: self.key_bindings.zoom(is_zooming_in=False))
        menu.addAction("&Reset zoom\tHome").triggered.connect(self.key_bindings.show_all)
        if self.crosshair.x is not None and self.receivers(SIGNAL("marker_requested(double)")):
            menu.addAction("Add &marker here\tM").triggered.connect(self.key_bindings.request_marker)
        if len(self._series_by_key) > 1:
            submenu = menu.addMenu("Visible &lines")
            for key, series in self._series_by_key.items():
                action = submenu.addAction(series.label.replace("&", "&&"))
                action.setCheckable(True)
                action.setChecked(key not in self._hidden_keys)
                action.setData(key)
            submenu.triggered.connect(self._toggle_series)
        menu.addSeparator()

    def _toggle_series(self, action: QAction) -> None:
        self.hide_series(str(action.data()), not action.isChecked())

    def _emit_time_range(self, start: float, end: float, is_done: bool) -> None:
        self.time_range_drawn.emit(self.x_axis.from_view(start), self.x_axis.from_view(end), is_done)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if self.is_plot_shown and self.key_bindings.handle_press(event):
            event.accept()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if not self.key_bindings.handle_release(event):
            super().keyReleaseEvent(event)
