"""Work that would hold up painting: done in a thread of Qt's pool, told in the window's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Generic, TypeVar

import shiboken6
from PySide6.QtCore import QObject, QRunnable, Qt, QThreadPool, Signal

T = TypeVar("T")
_Asked = tuple[QObject, Callable[[Any], object], Callable[[Exception], object]]


class _Desk(QObject):
    """One, for as long as the program runs: what is deleted while a thread emits its signals takes the process along.

    Threads know a number and nothing of the window, so that none of its objects can end in a thread.
    """

    told = Signal(int, object, bool)

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[int, _Asked] = {}
        self._numbers = count()
        self.told.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def note(self, asked: _Asked) -> int:
        number = next(self._numbers)
        self._asked[number] = asked
        return number

    def _deliver(self, number: int, outcome: Any, has_failed: bool) -> None:
        owner, on_done, on_error = self._asked.pop(number)
        if shiboken6.isValid(owner):
            (on_error if has_failed else on_done)(outcome)


class _Work(QRunnable):
    def __init__(self, function: Callable[[], object], number: int, desk: _Desk) -> None:
        super().__init__()
        self._function: Callable[[], object] | None = function
        self._number, self._desk = number, desk

    def run(self) -> None:
        function, self._function = self._function, None
        assert function is not None, "work is done once"
        try:
            outcome, has_failed = function(), False
        except Exception as error:  # told to whoever asked, in the window's thread
            outcome, has_failed = error, True
        del function  # what it holds on to of the window is let go while the desk still holds it
        try:
            self._desk.told.emit(self._number, outcome, has_failed)
        except RuntimeError:  # the program ends, and Qt's objects with it
            return


_desks: list[_Desk] = []


def submit(
    owner: QObject,
    function: Callable[[], T],
    on_done: Callable[[T], object],
    on_error: Callable[[Exception], object],
) -> None:
    """Run `function` in a thread that may touch no widget; `on_done` or `on_error` is called in the window's thread,
    and neither once `owner` is gone. Only the window's thread may call this."""
    if not _desks:
        _desks.append(_Desk())
    desk = _desks[0]
    QThreadPool.globalInstance().start(_Work(function, desk.note((owner, on_done, on_error)), desk))


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
