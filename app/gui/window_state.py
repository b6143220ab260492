"""Where the window stood, and its docks: kept when it closes and every half minute, and given back on screen."""

from __future__ import annotations

from PySide6.QtCore import QByteArray, QObject, QSettings, QSize, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMainWindow

LAYOUT = 1
"""Raised when docks or toolbars change, so that a state of another layout is left alone."""
_EVERY_MS = 30_000
_USUAL = QSize(1280, 820)
_LEAST_SEEN = 60


class WindowState(QObject):
    def __init__(self, window: QMainWindow, settings: QSettings) -> None:
        super().__init__(window)
        self._window, self._settings = window, settings
        self._first = QByteArray()
        self._timer = QTimer(self, interval=_EVERY_MS)
        self._timer.timeout.connect(self.keep)

    def restore(self) -> None:
        """As it was; as new where nothing was kept, it was of another layout, or it would be out of sight."""
        self._window.resize(_USUAL.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self._first = self._window.saveState(LAYOUT)
        geometry, state = self._settings.value("window/geometry"), self._settings.value("window/state")
        if isinstance(geometry, QByteArray):
            self._window.restoreGeometry(geometry)
        if isinstance(state, QByteArray) and not self._window.restoreState(state, LAYOUT):
            self._settings.remove("window/state")
        if not _is_seen(self._window):
            self._window.resize(_USUAL.boundedTo(QGuiApplication.primaryScreen().availableSize()))
            self._window.move(QGuiApplication.primaryScreen().availableGeometry().topLeft())
        self._timer.start()

    def reset(self) -> None:
        self._window.restoreState(self._first, LAYOUT)
        self._window.resize(_USUAL.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self.keep()

    def keep(self) -> None:
        self._settings.setValue("window/geometry", self._window.saveGeometry())
        self._settings.setValue("window/state", self._window.saveState(LAYOUT))
        self._settings.sync()  # Qt would with its next turn, which a window that closes does not have


def _is_seen(window: QMainWindow) -> bool:
    """Whether enough of its upper edge is on a screen to take hold of it."""
    frame = window.frameGeometry()
    screens = [screen.availableGeometry().intersected(frame) for screen in QGuiApplication.screens()]
    return any(seen.width() >= _LEAST_SEEN and seen.height() >= _LEAST_SEEN for seen in screens)
