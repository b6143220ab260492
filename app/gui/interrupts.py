"""Signal handling: Ctrl-C in the terminal and SIGTERM close the window. Runs in progress continue,
as after a crash of the window."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier


class SignalHandler(QObject):
    """Signal handler that calls `close` on SIGINT and SIGTERM.

    Python does not run signal handlers while Qt's event loop waits. Each signal therefore also
    writes a byte to a wakeup socket, which wakes the event loop.
    """

    def __init__(self, parent: QObject, close: Callable[[], object]) -> None:
        super().__init__(parent)
        self._close = close
        self._read_socket, self._write_socket = socket.socketpair()
        for socket_end in (self._read_socket, self._write_socket):
            socket_end.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._write_socket.fileno(), warn_on_full_buffer=False)
        self._previous_handlers = {
            signal_number: signal.signal(signal_number, _ignore) for signal_number in (signal.SIGINT, signal.SIGTERM)
        }
        self._notifier = QSocketNotifier(self._read_socket.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._on_wakeup)

    def restore(self) -> None:
        """Restore the previous signal handlers."""
        self._notifier.setEnabled(False)
        signal.set_wakeup_fd(self._previous_fd)
        for signal_number, handler in self._previous_handlers.items():
            signal.signal(signal_number, handler)
        for socket_end in (self._read_socket, self._write_socket):
            socket_end.close()

    def _on_wakeup(self) -> None:
        signal_bytes = self._read_socket.recv(64)
        if any(byte in (signal.SIGINT, signal.SIGTERM) for byte in signal_bytes):
            self._close()


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: the byte in the wakeup socket, not this signal handler, closes the window."""
