"""Several charts with a shared time axis, crosshair and selected time range."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QToolButton, QWidget

from app.gui.charts.chart import Chart
from app.gui.widgets import hbox, label, scroll_area, tool_button, vbox

_PADDING = 0.008
"""Padding on both sides as a fraction of the range, so that the first and last markers are not cut
off."""
_DELAY_MS, _BETWEEN_CHARTS_MS = 120, 15


class LinkedCharts(QWidget):
    """Column of charts with a shared time axis.

    If `has_spans` is true, the user can select a time range. `span_selected` is emitted when a
    range has been selected or one of its edges has been moved, and `span_cleared` when the
    selection has been removed.
    """

    span_selected = Signal(float, float)
    span_cleared = Signal()
    crosshair_moved = Signal(float)
    marker_requested = Signal(float)

    def __init__(self, charts: Sequence[Chart], *, has_spans: bool = True) -> None:
        super().__init__()
        self._has_spans = has_spans
        self.charts = tuple(charts)
        self._span: tuple[float, float] | None = None
        self._window_s: float | None = None
        self._is_paused = False
        self._delay_timer = QTimer(self, singleShot=True)
        self._delay_timer.timeout.connect(self._move_delayed_chart)
        self._delayed_charts: list[Chart] = []
        self._recently_moved: set[Chart] = set()
        """Charts that have new data and have moved since the charts without new data last moved."""
        self._is_any_chart_delayed = False
        self._build()
        for chart in self.charts:
            chart.view_range.is_linked = True
            chart.plot.x_axis.is_clock = chart.x_axis.unit == "s"
            chart.plot.set_x_labels_visible(chart is self.charts[-1])
            chart.crosshair_moved.connect(self._crosshair_moved)
            chart.range_changed.connect(self._range_changed)
            chart.fit_requested.connect(self.fit)
            chart.data_changed.connect(self._data_changed)
            chart.marker_requested.connect(self.marker_requested)
            chart.span_drawn.connect(self._span_drawn)
            chart.plot.resized.connect(self._align)

    def _build(self) -> None:
        self.span_button = tool_button(
            "Select time &range",
            tip="Select a time range by dragging on a chart (or at any time by dragging with Shift)",
            checkable=True,
        )
        self.span_button.toggled.connect(self._set_span_mode)
        self.clear_button = tool_button("C&lear time range")
        self.clear_button.clicked.connect(self.clear_span)
        self.clear_button.hide()
        self.span_label = label("", "muted")
        self.fit_button = QToolButton()
        self.fit_button.clicked.connect(self.fit)
        self._update_fit_button()
        row = hbox(self.span_button, self.span_label, self.clear_button, 1, self.fit_button)
        if not self._has_spans:
            self.span_button.hide()
            self.span_label.hide()
        column = QWidget()
        vbox(*((chart, 1) for chart in self.charts), within=column, spacing=2)
        area = scroll_area(column, focusable=False)  # with large text, the charts scroll instead of shrinking
        vbox(row, (area, 1), within=self, spacing=2)

    def span(self) -> tuple[float, float] | None:
        return self._span

    def select_span(self, start: float, end: float) -> None:
        """Select a time range, with the same effect as a selection by the user."""
        self._show_span(min(start, end), max(start, end))
        self.span_selected.emit(min(start, end), max(start, end))

    def clear_span(self) -> None:
        if self._span is None:
            return
        self._span = None
        for chart in self.charts:
            chart.set_span(None)
        self.span_label.setText("")
        self.clear_button.hide()
        self.span_cleared.emit()

    def set_crosshair(self, x: float | None) -> None:
        for chart in self.charts:
            chart.set_crosshair(x)

    def follow(self, window_s: float | None) -> None:
        """Show the last `window_s` seconds as data arrives. `None` shows all data.

        When the user pans or zooms, following pauses until Home is pressed.
        """
        self._window_s, self._is_paused = window_s, False
        self._update_fit_button()
        self._follow_data(self.charts)

    def fit(self) -> None:
        """Show all data, or resume following new data."""
        self._is_paused = False
        self._update_fit_button()
        for chart in self.charts:
            chart.view_range.fit()
        self._follow_data(self.charts)

    def event(self, event: QEvent) -> bool:
        """Clear the selected range on Escape, before the page can handle the key."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.ShortcutOverride
            and event.key() == Qt.Key.Key_Escape
            and self._span is not None
        ):
            event.accept()
            return True
        return super().event(event)

    def _update_fit_button(self) -> None:
        """Show the button that resets the view if the user has zoomed in or panned."""
        text = "&Reset zoom" if self._window_s is None else "Follow th&e run"
        self.fit_button.setText(text)
        self.fit_button.setAccessibleName(text.replace("&", ""))
        self.fit_button.setToolTip(f"{text.replace('&', '')} (Home)")
        self.fit_button.setVisible(self._is_paused)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self._span is not None:
            self.clear_span()
            return
        super().keyPressEvent(event)

    def _data_changed(self) -> None:
        """Move the chart that has new data immediately, and the other charts slightly later, unless
        they receive data first.

        In this way, only one chart is repainted at a time.
        """
        if self._is_paused:
            return
        moved_charts = [chart for chart in self.charts if chart is self.sender()]
        self._follow_data(moved_charts)
        self._recently_moved.update(moved_charts)
        if not self._delay_timer.isActive():
            self._delay_timer.start(_DELAY_MS)

    def _move_delayed_chart(self) -> None:
        """Move the next chart that has not received data recently.

        A chart with continuous data moves with its own data. When its data stops, the chart moves
        with the other charts.
        """
        if self._is_paused:
            self._delayed_charts.clear()
            self._recently_moved.clear()
            return
        if not self._delayed_charts:
            self._delayed_charts = [chart for chart in self.charts if chart not in self._recently_moved]
            self._is_any_chart_delayed = len(self._recently_moved) > 1
            self._recently_moved.clear()
        if self._delayed_charts:
            self._follow_data([self._delayed_charts.pop()])
        if self._delayed_charts:
            self._delay_timer.start(_BETWEEN_CHARTS_MS)
        elif self._recently_moved or self._is_any_chart_delayed:
            self._delay_timer.start(_DELAY_MS)

    def _follow_data(self, charts: Sequence[Chart]) -> None:
        bounds = [chart.data_range() for chart in self.charts]
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
        self._align()

    def _align(self) -> None:
        """Set the same width for all left axes, so that a point in time has the same x position in
        every chart."""
        width = max((chart.plot.y_axis.preferred_width() for chart in self.charts), default=0.0)
        for chart in self.charts:
            chart.plot.y_axis.set_width(width)

    def _range_changed(self, low: float, high: float) -> None:
        self._is_paused = True
        self._update_fit_button()
        for chart in self.charts:
            if chart is not self.sender():
                chart.set_x_range(low, high)

    def _crosshair_moved(self, x: float) -> None:
        for chart in self.charts:
            if chart is not self.sender():
                chart.set_crosshair(x)
        self.crosshair_moved.emit(x)

    def _set_span_mode(self, is_on: bool) -> None:
        for chart in self.charts:
            chart.plot.is_span_mode = is_on

    def _span_drawn(self, start: float, end: float, is_done: bool) -> None:
        if not self._has_spans:
            return
        if is_done:
            self.span_button.setChecked(False)
            self.select_span(start, end)
        else:
            self._show_span(min(start, end), max(start, end))

    def _show_span(self, start: float, end: float) -> None:
        self._span = (start, end)
        for chart in self.charts:
            chart.set_span((start, end))
        format_x = self.charts[-1].plot.x_axis.format_value
        self.span_label.setText(f"Time range: {format_x(start)} to {format_x(end)}")
        self.clear_button.show()
