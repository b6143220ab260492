"""Ctrl-C in the terminal closes the window; a run goes on, as it does when the window crashes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier


class Interrupts(QObject):
    """Qt's loop lets no Python handler run until something wakes it: the signal's own byte does."""

    def __init__(self, parent: QObject, close: Callable[[], object]) -> None:
        super().__init__(parent)
        self._close = close
        self._reading, self._writing = socket.socketpair()
        for end in (self._reading, self._writing):
            end.setblocking(False)
        self._before_fd = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        self._before = {kind: signal.signal(kind, _ignored) for kind in (signal.SIGINT, signal.SIGTERM)}
        self._notifier = QSocketNotifier(self._reading.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._woken)

    def end(self) -> None:
        """Signals do again what they did before."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(self._before_fd)
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
        for end in (self._reading, self._writing):
            end.close()

    def _woken(self) -> None:
        received = self._reading.recv(64)
        if any(byte in (signal.SIGINT, signal.SIGTERM) for byte in received):
            self._close()


def _ignored(_number: int, _frame: object) -> None:
    """The byte in the socket is what counts."""
