"""Several charts with a shared time axis, crosshair and selected time range, in one or more columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QToolButton, QWidget

from app.gui.charts.chart import Chart
from app.gui.theme import GAP_LINE
from app.gui.widgets import hbox, label, scroll_area, tool_button, vbox

_PADDING = 0.008
"""Padding on both sides of the data, as a fraction of the x range, so that the first and last
markers are not cut off."""
_DELAY_MS, _BETWEEN_CHARTS_MS = 120, 15


_MIN_COLUMN_CHARACTERS = 50
"""Minimum width of a column of charts. A widget that is too narrow has fewer columns."""


class LinkedCharts(QWidget):
    """Charts with a shared time axis, in up to `max_columns` columns.

    If `has_time_range_selection` is true, the user can select a time range. `time_range_selected`
    is emitted when a time range has been selected or one of its edges has been moved, and
    `time_range_cleared` when the selection has been removed.
    """

    time_range_selected = Signal(float, float)
    time_range_cleared = Signal()
    crosshair_moved = Signal(float)
    marker_requested = Signal(float)

    def __init__(self, charts: Sequence[Chart], *, has_time_range_selection: bool = True, max_columns: int = 1) -> None:
        super().__init__()
        self._has_time_range_selection, self._max_columns = has_time_range_selection, max_columns
        self.charts = tuple(charts)
        self._time_range: tuple[float, float] | None = None
        self._window_s: float | None = None
        self._is_paused = False
        self._delay_timer = QTimer(self, singleShot=True)
        self._delay_timer.timeout.connect(self._move_delayed_chart)
        self._delayed_charts: list[Chart] = []
        self._recently_moved_charts: set[Chart] = set()
        """Charts with new data whose range has moved since the charts without new data last
        moved."""
        self._is_any_chart_delayed = False
        self._build()
        for chart in self.charts:
            self._link(chart)
        self.arrange()

    def _link(self, chart: Chart) -> None:
        chart.view_range.is_linked = True
        chart.plot.x_axis.is_clock = chart.x_axis.unit == "s"
        chart.crosshair_moved.connect(self._on_crosshair_moved)
        chart.range_changed.connect(self._on_range_changed)
        chart.fit_requested.connect(self.fit)
        chart.data_changed.connect(self._on_data_changed)
        chart.marker_requested.connect(self.marker_requested)
        chart.time_range_drawn.connect(self._on_time_range_drawn)
        chart.plot.resized.connect(self._align_axes)

    def insert(self, index: int, chart: Chart) -> None:
        """Insert a chart. The caller arranges the charts afterwards."""
        self.charts = (*self.charts[:index], chart, *self.charts[index:])
        chart.setParent(self._grid.parentWidget())
        self._link(chart)
        self._follow_data((chart,))

    def arrange(self) -> None:
        """Arrange the charts that are not hidden in rows. Only the last chart of a column has the
        labels of the time axis; a chart alone in the last row takes the whole width."""
        shown_charts = [chart for chart in self.charts if not chart.isHidden()]
        self._columns = self._count_columns()
        for row in range(self._grid.rowCount()):
            self._grid.setRowStretch(row, 0)
        for column in range(self._grid.columnCount()):
            self._grid.setColumnStretch(column, int(column < self._columns))
        for chart in self.charts:
            self._grid.removeWidget(chart)
        is_last_alone = len(shown_charts) % self._columns == 1 and self._columns > 1
        labeled_count = self._columns + 1 if is_last_alone else self._columns
        for index, chart in enumerate(shown_charts):
            row, column = divmod(index, self._columns)
            is_alone = is_last_alone and index == len(shown_charts) - 1
            self._grid.addWidget(chart, row, column, 1, self._columns if is_alone else 1)
            self._grid.setRowStretch(row, 1)
            chart.plot.set_x_labels_visible(index + labeled_count >= len(shown_charts))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._count_columns() != self._columns:
            self.arrange()

    def _count_columns(self) -> int:
        min_width_px = _MIN_COLUMN_CHARACTERS * self.fontMetrics().averageCharWidth()
        return max(1, min(self._max_columns, self.width() // min_width_px))

    def _build(self) -> None:
        self.time_range_button = tool_button(
            "&Select time range",
            tip="Select a time range by dragging on a chart (or at any time by dragging with Shift)",
            checkable=True,
        )
        self.time_range_button.toggled.connect(self._set_time_range_mode)
        self.clear_button = tool_button("C&lear time range")
        self.clear_button.clicked.connect(self.clear_time_range)
        self.clear_button.hide()
        self.time_range_label = label("", "muted")
        self.fit_button = QToolButton()
        self.fit_button.clicked.connect(self.fit)
        self._update_fit_button()
        row = hbox(self.time_range_button, self.time_range_label, self.clear_button, 1, self.fit_button)
        if not self._has_time_range_selection:
            self.time_range_button.hide()
            self.time_range_label.hide()
        column = QWidget()
        self._grid, self._columns = QGridLayout(column), 1
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(GAP_LINE)
        for chart in self.charts:
            self._grid.addWidget(chart)
        area = scroll_area(column, focusable=False)  # with large text, the charts scroll instead of shrinking
        vbox(row, (area, 1), within=self, spacing=GAP_LINE)

    def time_range(self) -> tuple[float, float] | None:
        return self._time_range

    def select_time_range(self, start: float, end: float) -> None:
        """Select a time range, with the same effect as a selection by the user."""
        self._show_time_range(min(start, end), max(start, end))
        self.time_range_selected.emit(min(start, end), max(start, end))

    def clear_time_range(self) -> None:
        if self._time_range is None:
            return
        self._time_range = None
        for chart in self.charts:
            chart.set_time_range(None)
        self.time_range_label.setText("")
        self.clear_button.hide()
        self.time_range_cleared.emit()

    def set_crosshair(self, x: float | None) -> None:
        for chart in self.charts:
            chart.set_crosshair(x)

    def follow(self, window_s: float | None) -> None:
        """Show the last `window_s` seconds as data arrives, or all data if `window_s` is `None`.

        When the user pans or zooms, following pauses until Home is pressed.
        """
        self._window_s, self._is_paused = window_s, False
        self._update_fit_button()
        self._follow_data(self.charts)

    def fit(self) -> None:
        """Show all data or, while a run is followed, the most recent data again."""
        self._is_paused = False
        self._update_fit_button()
        for chart in self.charts:
            chart.view_range.fit()
        self._follow_data(self.charts)

    def event(self, event: QEvent) -> bool:
        """Claim Escape while a time range is selected, so that the key clears the time range and
        does not reach the page."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.ShortcutOverride
            and event.key() == Qt.Key.Key_Escape
            and self._time_range is not None
        ):
            event.accept()
            return True
        return super().event(event)

    def _update_fit_button(self) -> None:
        """Show the button that resets the view if the user has zoomed in or panned."""
        text = "&Reset zoom" if self._window_s is None else "Follo&w the run"
        self.fit_button.setText(text)
        self.fit_button.setAccessibleName(text.replace("&", ""))
        self.fit_button.setToolTip(f"{text.replace('&', '')} (Home)")
        self.fit_button.setVisible(self._is_paused)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self._time_range is not None:
            self.clear_time_range()
            return
        super().keyPressEvent(event)

    def _on_data_changed(self) -> None:
        """Move the chart that has new data immediately. Move the charts without new data slightly
        later, unless they receive data first.

        In this way, only one chart is repainted at a time.
        """
        if self._is_paused:
            return
        moved_charts = [chart for chart in self.charts if chart is self.sender()]
        self._follow_data(moved_charts)
        self._recently_moved_charts.update(moved_charts)
        if not self._delay_timer.isActive():
            self._delay_timer.start(_DELAY_MS)

    def _move_delayed_chart(self) -> None:
        """Move the next chart that has not received data recently.

        A chart with continuous data moves whenever data arrives. When its data stops, the chart
        moves with the charts that have no new data.
        """
        if self._is_paused:
            self._delayed_charts.clear()
            self._recently_moved_charts.clear()
            return
        if not self._delayed_charts:
            self._delayed_charts = [chart for chart in self.charts if chart not in self._recently_moved_charts]
            self._is_any_chart_delayed = len(self._recently_moved_charts) > 1
            self._recently_moved_charts.clear()
        if self._delayed_charts:
            self._follow_data([self._delayed_charts.pop()])
        if self._delayed_charts:
            self._delay_timer.start(_BETWEEN_CHARTS_MS)
        elif self._recently_moved_charts or self._is_any_chart_delayed:
            self._delay_timer.start(_DELAY_MS)

    def _follow_data(self, charts: Sequence[Chart]) -> None:
        bounds = [chart.data_bounds() for chart in self.charts]
        lows = [chart_bounds.x0 for chart_bounds in bounds if math.isfinite(chart_bounds.x0)]
        highs = [chart_bounds.x1 for chart_bounds in bounds if math.isfinite(chart_bounds.x1)]
        if not highs:
            return
        high = max(highs)
        if self._window_s is None:
            padding = _PADDING * (high - min(lows)) or 0.5
            low, high = min(lows) - padding, high + padding
        else:
            low = high - self._window_s
        for chart in charts:
            chart.set_x_range(low, high)
        self._align_axes()

    def _align_axes(self) -> None:
        """Set the same width for all left axes and for the names at the ends of lines, so that a
        point in time has the same x position in every chart."""
        width = max((chart.plot.y_axis.preferred_width() for chart in self.charts), default=0.0)
        for chart in self.charts:
            chart.plot.y_axis.set_width(width)
        labels_px = max((chart.line_labels_px for chart in self.charts if not chart.isHidden()), default=0.0)
        for chart in self.charts:
            chart.shared_labels_px = labels_px
            chart.fit_line_labels()

    def _on_range_changed(self, low: float, high: float) -> None:
        self._is_paused = True
        self._update_fit_button()
        for chart in self.charts:
            if chart is not self.sender():
                chart.set_x_range(low, high)

    def _on_crosshair_moved(self, x: float) -> None:
        for chart in self.charts:
            if chart is not self.sender():
                chart.set_crosshair(x)
        self.crosshair_moved.emit(x)

    def _set_time_range_mode(self, is_on: bool) -> None:
        for chart in self.charts:
            chart.plot.is_time_range_mode = is_on

    def _on_time_range_drawn(self, start: float, end: float, is_done: bool) -> None:
        if not self._has_time_range_selection:
            return
        if is_done:
            self.time_range_button.setChecked(False)
            self.select_time_range(start, end)
        else:
            self._show_time_range(min(start, end), max(start, end))

    def _show_time_range(self, start: float, end: float) -> None:
        self._time_range = (start, end)
        for chart in self.charts:
            chart.set_time_range((start, end))
        format_x = self.charts[-1].plot.x_axis.format_value
        self.time_range_label.setText(f"Time range: {format_x(start)} to {format_x(end)}")
        self.clear_button.show()
