"""Data come at any rate; the screen is painted at one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

INTERVAL_MS = 100
_NEXT_MS = 15
_AT_ONCE_S = 0.001


class Repaint(QObject):
    """Calls each marked widget's `paint` at most ten times a second, and only while it is seen; one that was marked
    while hidden is painted when it is shown. The timer stands still when there is nothing to paint.

    What takes long is painted in frames of its own, one after the other.
    """

    def __init__(self, parent: QObject, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(parent)
        self._clock = clock
        self._paint_of: dict[QWidget, Callable[[], object]] = {}
        self._marked: dict[QWidget, None] = {}
        """In the order in which they were marked."""
        self._turn: deque[QWidget] = deque()
        self._turn_began_s = 0.0
        self._timer = QTimer(self, interval=INTERVAL_MS)
        self._timer.timeout.connect(self._paint_some)

    @property
    def is_running(self) -> bool:
        return self._timer.isActive()

    def add(self, widget: QWidget, paint: Callable[[], object]) -> None:
        self._paint_of[widget] = paint
        widget.installEventFilter(self)

    def mark(self, widget: QWidget) -> None:
        """It has something new to show."""
        self._marked[widget] = None
        self._start_if_seen()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and watched in self._marked:
            self._timer.start()
        return False

    def _start_if_seen(self) -> None:
        if not self._timer.isActive() and any(widget.isVisible() for widget in self._alive()):
            self._timer.start(INTERVAL_MS)

    def _paint_some(self) -> None:
        began_s = self._clock()
        if not self._turn:
            self._turn.extend(widget for widget in self._alive() if widget.isVisible())
            self._turn_began_s = began_s
        if not self._turn:
            self._timer.stop()
            return
        while self._turn and self._clock() - began_s <= _AT_ONCE_S:
            widget = self._turn.popleft()
            if isValid(widget) and widget in self._marked and widget.isVisible():
                del self._marked[widget]
                self._paint_of[widget]()
        left_ms = INTERVAL_MS - round(1000 * (self._clock() - self._turn_began_s))
        self._timer.setInterval(_NEXT_MS if self._turn else max(_NEXT_MS, left_ms))

    def _alive(self) -> list[QWidget]:
        """Marked ones; those that Qt has deleted are forgotten."""
        for gone in [widget for widget in self._paint_of if not isValid(widget)]:
            del self._paint_of[gone]
            self._marked.pop(gone, None)
        return list(self._marked)
