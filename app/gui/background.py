"""Work that would hold up painting: done in a thread of Qt's pool, told in the window's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from PySide6.QtCore import QObject, QRunnable, Qt, QThreadPool, Signal, SignalInstance

T = TypeVar("T")


class _Teller(QObject):
    done = Signal(object)
    failed = Signal(object)


class _Work(QRunnable):
    def __init__(self, function: Callable[[], object], teller: _Teller) -> None:
        super().__init__()
        self._function, self._teller = function, teller

    def run(self) -> None:
        try:
            outcome = self._function()
        except Exception as error:  # told to whoever asked, in the window's thread
            _tell(self._teller.failed, error)
        else:
            _tell(self._teller.done, outcome)


def _tell(signal: SignalInstance, outcome: object) -> None:
    try:
        signal.emit(outcome)
    except RuntimeError:  # the window is closed, and its objects with it
        return


def submit(
    owner: QObject,
    function: Callable[[], T],
    on_done: Callable[[T], object],
    on_error: Callable[[Exception], object],
) -> None:
    """Run `function` in a thread that may touch no widget; `on_done` or `on_error` is called in the window's thread,
    and neither once `owner` is gone."""
    teller = _Teller(owner)
    teller.done.connect(on_done, Qt.ConnectionType.QueuedConnection)
    teller.failed.connect(on_error, Qt.ConnectionType.QueuedConnection)
    for signal in (teller.done, teller.failed):
        signal.connect(teller.deleteLater, Qt.ConnectionType.QueuedConnection)
    QThreadPool.globalInstance().start(_Work(function, teller))


class Latest(Generic[T]):
    """Of answers to a question that changes while it is worked on, only the newest is told; one is worked on at a
    time, and what was asked in between is dropped."""

    def __init__(self, owner: QObject, on_done: Callable[[T], object], on_error: Callable[[Exception], object]) -> None:
        self._owner, self._on_done, self._on_error = owner, on_done, on_error
        self._next: Callable[[], T] | None = None
        self._asked = 0
        self.is_busy = False

    def ask(self, function: Callable[[], T]) -> None:
        self._asked += 1
        self._next = function
        if not self.is_busy:
            self._begin()

    def forget(self) -> None:
        """What is being worked on is told to nobody."""
        self._asked += 1
        self._next = None

    def _begin(self) -> None:
        function, number = self._next, self._asked
        self._next = None
        if function is None:
            return
        self.is_busy = True

        def done(outcome: T) -> None:
            self.is_busy = False
            if number == self._asked:
                self._on_done(outcome)
            self._begin()

        def failed(error: Exception) -> None:
            self.is_busy = False
            if number == self._asked:
                self._on_error(error)
            self._begin()

        submit(self._owner, function, done, failed)
