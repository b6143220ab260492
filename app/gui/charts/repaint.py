"""Data come at any rate; the screen is painted at one."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QTimer
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

INTERVAL_MS = 100


class Repaint(QObject):
    """Calls each marked widget's `paint` at most ten times a second, and only while it is seen; one that was marked
    while hidden is painted when it is shown. The timer stands still when there is nothing to paint."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._paint_of: dict[QWidget, Callable[[], object]] = {}
        self._marked: set[QWidget] = set()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self._paint_marked)

    @property
    def is_running(self) -> bool:
        return self._timer.isActive()

    def add(self, widget: QWidget, paint: Callable[[], object]) -> None:
        self._paint_of[widget] = paint
        widget.installEventFilter(self)

    def mark(self, widget: QWidget) -> None:
        """It has something new to show."""
        self._marked.add(widget)
        self._start_if_seen()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and watched in self._marked:
            self._timer.start()
        return False

    def _start_if_seen(self) -> None:
        if not self._timer.isActive() and any(widget.isVisible() for widget in self._alive()):
            self._timer.start()

    def _paint_marked(self) -> None:
        seen = [widget for widget in self._alive() if widget.isVisible()]
        if not seen:
            self._timer.stop()
            return
        self._marked.difference_update(seen)
        for widget in seen:
            self._paint_of[widget]()

    def _alive(self) -> set[QWidget]:
        """Marked ones; those that Qt has deleted are forgotten."""
        for gone in [widget for widget in self._paint_of if not isValid(widget)]:
            del self._paint_of[gone]
            self._marked.discard(gone)
        return self._marked
