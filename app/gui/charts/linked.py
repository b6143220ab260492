"""Several charts over one time axis: one range, one crosshair, one chosen window."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QToolButton, QWidget

from app.gui.charts.chart import Chart
from app.gui.widgets import hbox, label, scroll_area, tool_button, vbox

_ROOM = 0.008
"""At both ends, so that the first and the last marker are whole."""
_OTHERS_MS, _ONE_MS = 120, 15


class LinkedCharts(QWidget):
    """`has_spans`: a window of time can be chosen. `span_chosen` tells of one that was drawn, or had an edge let go,
    `span_cleared` of one that was taken away."""

    span_chosen = Signal(float, float)
    span_cleared = Signal()
    crosshair_moved = Signal(float)
    marker_wanted = Signal(float)

    def __init__(self, charts: Sequence[Chart], *, has_spans: bool = True) -> None:
        super().__init__()
        self._has_spans = has_spans
        self.charts = tuple(charts)
        self._span: tuple[float, float] | None = None
        self._follow_s: float | None = None
        self._is_paused = False
        self._others_soon = QTimer(self, singleShot=True)
        self._others_soon.timeout.connect(self._follow_late)
        self._late: list[Chart] = []
        self._moved: set[Chart] = set()
        """By data of their own, since the others were."""
        self._is_any_behind = False
        self._build()
        for chart in self.charts:
            chart.viewing.is_linked = True
            chart.plot.x_axis.is_clock = chart.x_axis.unit == "s"
            chart.plot.show_x_texts(chart is self.charts[-1])
            chart.crosshair_moved.connect(self._crosshair_moved)
            chart.range_changed.connect(self._range_changed)
            chart.fit_wanted.connect(self.fit)
            chart.data_changed.connect(self._data_changed)
            chart.marker_wanted.connect(self.marker_wanted)
            chart.span_drawn.connect(self._span_drawn)
            chart.plot.resized.connect(self._align)

    def _build(self) -> None:
        self.span_button = tool_button(
            "Select a &window", tip="Drag over a chart to choose a stretch of time (or Shift and drag)", checkable=True
        )
        self.span_button.toggled.connect(self._span_mode)
        self.clear_button = tool_button("C&lear window")
        self.clear_button.clicked.connect(self.clear_span)
        self.clear_button.hide()
        self.span_label = label("", "muted")
        self.fit_button = QToolButton()
        self.fit_button.clicked.connect(self.fit)
        self._say_fit()
        row = hbox(self.span_button, self.span_label, self.clear_button, 1, self.fit_button)
        if not self._has_spans:
            self.span_button.hide()
            self.span_label.hide()
        column = QWidget()
        vbox(*((chart, 1) for chart in self.charts), within=column, spacing=2)
        area = scroll_area(column, focusable=False)  # so that large text makes charts scroll, and none shrink away
        vbox(row, (area, 1), within=self, spacing=2)

    def span(self) -> tuple[float, float] | None:
        return self._span

    def choose_span(self, start: float, end: float) -> None:
        """As a user would."""
        self._show_span(min(start, end), max(start, end))
        self.span_chosen.emit(min(start, end), max(start, end))

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

    def follow(self, last_s: float | None) -> None:
        """Keep the last seconds in view as data come; None shows everything. A user who pans or zooms stops it until
        Home is pressed."""
        self._follow_s, self._is_paused = last_s, False
        self._say_fit()
        self._follow_data(self.charts)

    def fit(self) -> None:
        """Everything, or what is followed."""
        self._is_paused = False
        self._say_fit()
        for chart in self.charts:
            chart.viewing.fit()
        self._follow_data(self.charts)

    def event(self, event: QEvent) -> bool:
        """Escape clears the window before it means anything to the page."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.ShortcutOverride
            and event.key() == Qt.Key.Key_Escape
            and self._span is not None
        ):
            event.accept()
            return True
        return super().event(event)

    def _say_fit(self) -> None:
        """How to come back, once the user looks at a part."""
        text = "Show &everything" if self._follow_s is None else "Follow th&e run"
        self.fit_button.setText(text)
        self.fit_button.setAccessibleName(text.replace("&", ""))
        self.fit_button.setToolTip("{what} (Home)".format(what=text.replace("&", "")))
        self.fit_button.setVisible(self._is_paused)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and self._span is not None:
            self.clear_span()
            return
        super().keyPressEvent(event)

    def _data_changed(self) -> None:
        """A chart that has new data moves at once, the others a little later, where theirs have not come by then: what
        is painted with every sample is painted one by one."""
        if self._is_paused:
            return
        moved = [one for one in self.charts if one is self.sender()]
        self._follow_data(moved)
        self._moved.update(moved)
        if not self._others_soon.isActive():
            self._others_soon.start(_OTHERS_MS)

    def _follow_late(self) -> None:
        """One that has data of its own all the time moves with them; once no more come, it moves with the others."""
        if self._is_paused:
            self._late.clear()
            self._moved.clear()
            return
        if not self._late:
            self._late = [one for one in self.charts if one not in self._moved]
            self._is_any_behind = len(self._moved) > 1
            self._moved.clear()
        if self._late:
            self._follow_data([self._late.pop()])
        if self._late:
            self._others_soon.start(_ONE_MS)
        elif self._moved or self._is_any_behind:
            self._others_soon.start(_OTHERS_MS)

    def _follow_data(self, charts: Sequence[Chart]) -> None:
        bounds = [chart.data_range() for chart in self.charts]
        lows = [each.x0 for each in bounds if math.isfinite(each.x0)]
        highs = [each.x1 for each in bounds if math.isfinite(each.x1)]
        if not highs:
            return
        high = max(highs)
        if self._follow_s is None:
            room = _ROOM * (high - min(lows)) or 0.5
            low, high = min(lows) - room, high + room
        else:
            low = high - self._follow_s
        for chart in charts:
            chart.set_x_range(low, high)
        self._align()

    def _align(self) -> None:
        """One width for all left axes, so that a moment stands on one column."""
        width = max((chart.plot.y_axis.wanted_width() for chart in self.charts), default=0.0)
        for chart in self.charts:
            chart.plot.y_axis.set_width(width)

    def _range_changed(self, low: float, high: float) -> None:
        self._is_paused = True
        self._say_fit()
        for chart in self.charts:
            if chart is not self.sender():
                chart.set_x_range(low, high)

    def _crosshair_moved(self, x: float) -> None:
        for chart in self.charts:
            if chart is not self.sender():
                chart.set_crosshair(x)
        self.crosshair_moved.emit(x)

    def _span_mode(self, is_on: bool) -> None:
        for chart in self.charts:
            chart.plot.draws_spans = is_on

    def _span_drawn(self, start: float, end: float, is_done: bool) -> None:
        if not self._has_spans:
            return
        if is_done:
            self.span_button.setChecked(False)
            self.choose_span(start, end)
        else:
            self._show_span(min(start, end), max(start, end))

    def _show_span(self, start: float, end: float) -> None:
        self._span = (start, end)
        for chart in self.charts:
            chart.set_span((start, end))
        write = self.charts[-1].plot.x_axis.text_of
        self.span_label.setText(f"Window: {write(start)} to {write(end)}")
        self.clear_button.show()
