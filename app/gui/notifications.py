"""A desktop notice of a job that ended while nobody looked, and only then."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication, QSystemTrayIcon, QWidget

LEAST_S = 30.0
_SHOWN_MS = 10_000


def is_worth_telling(*, is_active: bool, lasted_s: float) -> bool:
    """Whoever looks at the window sees it, and nobody has gone away from what took half a minute."""
    return not is_active and lasted_s > LEAST_S


class Notifications(QObject):
    """By the tray where there is one, else the window asks for attention in the task bar."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._tray: QSystemTrayIcon | None = None

    def tell_ended(self, name: str, outcome: str, lasted_s: float) -> bool:
        """Whether it was told. `outcome` is a word, as in PASS or stopped."""
        if not is_worth_telling(is_active=self._window.isActiveWindow(), lasted_s=lasted_s):
            return False
        title = f"{name}: {outcome}"
        if not (QSystemTrayIcon.isSystemTrayAvailable() and QSystemTrayIcon.supportsMessages()):
            QApplication.alert(self._window)
            return True
        tray = self._shown_tray()
        tray.showMessage(title, "Sizewise has finished this job.", QSystemTrayIcon.MessageIcon.Information)
        QTimer.singleShot(_SHOWN_MS, tray, tray.hide)
        return True

    def _shown_tray(self) -> QSystemTrayIcon:
        """There only as long as it has something to say."""
        if self._tray is None:
            self._tray = QSystemTrayIcon(_icon(self._window), self)
            self._tray.messageClicked.connect(self._come_forward)
        self._tray.show()
        return self._tray

    def _come_forward(self) -> None:
        self._window.raise_()
        self._window.activateWindow()


def _icon(window: QWidget) -> QIcon:
    own = window.windowIcon()
    if not own.isNull():
        return own
    return window.style().standardIcon(window.style().StandardPixmap.SP_ComputerIcon)
