"""Limit on the repaint rate of widgets, independent of the rate at which data arrives."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

INTERVAL_MS = 100
_BETWEEN_WIDGETS_MS = 15
_TICK_BUDGET_S = 0.001


class RepaintLimiter(QObject):
    """Timer that calls the `paint` function of each marked widget at most ten times a second, and
    only while the widget is visible.

    A widget that was marked while hidden is painted when it is shown. Slow widgets are painted one
    after another, in separate timer ticks. The timer stops when there is nothing to paint.
    """

    def __init__(self, parent: QObject, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(parent)
        self._clock = clock
        self._paint_functions: dict[QWidget, Callable[[], object]] = {}
        self._marked_widgets: dict[QWidget, None] = {}
        """Widgets to paint, in the order in which they were marked."""
        self._queue: deque[QWidget] = deque()
        self._frame_start_s = 0.0
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self._paint_next)

    @property
    def is_running(self) -> bool:
        return self._timer.isActive()

    def register(self, widget: QWidget, paint: Callable[[], object]) -> None:
        self._paint_functions[widget] = paint
        widget.installEventFilter(self)

    def mark_changed(self, widget: QWidget) -> None:
        """Mark a widget as changed, so that it is repainted."""
        self._marked_widgets[widget] = None
        self._start_if_visible()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and watched in self._marked_widgets:
            self._timer.start()
        return False

    def _start_if_visible(self) -> None:
        if not self._timer.isActive() and any(widget.isVisible() for widget in self._drop_deleted_widgets()):
            self._timer.start(INTERVAL_MS)

    def _paint_next(self) -> None:
        start_s = self._clock()
        if not self._queue:
            self._queue.extend(widget for widget in self._drop_deleted_widgets() if widget.isVisible())
            self._frame_start_s = start_s
        if not self._queue:
            self._timer.stop()
            return
        while self._queue and self._clock() - start_s <= _TICK_BUDGET_S:
            widget = self._queue.popleft()
            if isValid(widget) and widget in self._marked_widgets and widget.isVisible():
                del self._marked_widgets[widget]
                self._paint_functions[widget]()
        remaining_ms = INTERVAL_MS - round(1000 * (self._clock() - self._frame_start_s))
        self._timer.setInterval(_BETWEEN_WIDGETS_MS if self._queue else max(_BETWEEN_WIDGETS_MS, remaining_ms))

    def _drop_deleted_widgets(self) -> list[QWidget]:
        """Drop the widgets that Qt has deleted, and return the remaining marked widgets."""
        for deleted_widget in [widget for widget in self._paint_functions if not isValid(widget)]:
            del self._paint_functions[deleted_widget]
            self._marked_widgets.pop(deleted_widget, None)
        return list(self._marked_widgets)
