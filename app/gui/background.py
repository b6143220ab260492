"""Background execution: slow functions run in Qt's thread pool, and their results are delivered in
the GUI thread."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Generic, TypeVar

import shiboken6
from PySide6.QtCore import QObject, QRunnable, Qt, QThreadPool, Signal

T = TypeVar("T")
_Callbacks = tuple[QObject, Callable[[Any], object], Callable[[Exception], object]]


class _ResultDispatcher(QObject):
    """Dispatcher that delivers results from worker threads to callbacks in the GUI thread.

    The process has a single dispatcher, which is never deleted: if a QObject is deleted while a
    thread emits its signals, the process crashes. A worker thread only has the ID of its request
    and no reference to objects of the window, so no such object can be destroyed in a worker
    thread.
    """

    delivered = Signal(int, object, bool)

    def __init__(self) -> None:
        super().__init__()
        self._callbacks_by_id: dict[int, _Callbacks] = {}
        self._request_ids = count()
        self.delivered.connect(self._deliver, Qt.ConnectionType.QueuedConnection)

    def register(self, callbacks: _Callbacks) -> int:
        request_id = next(self._request_ids)
        self._callbacks_by_id[request_id] = callbacks
        return request_id

    def _deliver(self, request_id: int, outcome: Any, has_failed: bool) -> None:
        owner, on_done, on_error = self._callbacks_by_id.pop(request_id)
        if shiboken6.isValid(owner):
            (on_error if has_failed else on_done)(outcome)


class _Work(QRunnable):
    def __init__(self, function: Callable[[], object], request_id: int, dispatcher: _ResultDispatcher) -> None:
        super().__init__()
        self._function: Callable[[], object] | None = function
        self._request_id, self._dispatcher = request_id, dispatcher

    def run(self) -> None:
        function, self._function = self._function, None
        assert function is not None, "the work has already run"
        try:
            outcome, has_failed = function(), False
        except Exception as error:  # delivered to the caller in the GUI thread
            outcome, has_failed = error, True
        del function  # release window objects in this thread while the dispatcher still references them
        try:
            self._dispatcher.delivered.emit(self._request_id, outcome, has_failed)
        except RuntimeError:  # the process is exiting, and Qt has deleted its objects
            return


_dispatchers: list[_ResultDispatcher] = []


class _Start:
    """State at the start of the application. While `is_queueing`, work waits in `waiting_work`."""

    is_queueing = False
    waiting_work: ClassVar[list[_Work]] = []


def queue_work() -> None:
    """Queue the work that is submitted from now on until `release_work` is called.

    Two threads that import modules of one import cycle at the same time can see a partially
    initialized module. No work is therefore started before the modules that it uses are imported.
    """
    _Start.is_queueing = True


def release_work() -> None:
    """Start the work that has been submitted since `queue_work`."""
    _Start.is_queueing = False
    waiting_work, _Start.waiting_work = _Start.waiting_work, []
    for work in waiting_work:
        QThreadPool.globalInstance().start(work)


def submit(
    owner: QObject,
    function: Callable[[], T],
    on_done: Callable[[T], object],
    on_error: Callable[[Exception], object],
    *,
    may_wait: bool = True,
) -> None:
    """Run `function` in a worker thread, then call `on_done` or `on_error` in the GUI thread.

    `function` must not access widgets. If `owner` has been deleted in the meantime, no callback is
    called. `submit` must be called in the GUI thread. While work is queued, the work waits, unless
    `may_wait` is false.
    """
    if not _dispatchers:
        _dispatchers.append(_ResultDispatcher())
    dispatcher = _dispatchers[0]
    work = _Work(function, dispatcher.register((owner, on_done, on_error)), dispatcher)
    if _Start.is_queueing and may_wait:
        _Start.waiting_work.append(work)
    else:
        QThreadPool.globalInstance().start(work)


class LatestRunner(Generic[T]):
    """Background runner that runs one function at a time and reports only the result of the latest
    request.

    A new request replaces a waiting request, and the result of a request that is already running is
    discarded.
    """

    def __init__(self, owner: QObject, on_done: Callable[[T], object], on_error: Callable[[Exception], object]) -> None:
        self._owner, self._on_done, self._on_error = owner, on_done, on_error
        self._next_function: Callable[[], T] | None = None
        self._request_count = 0
        self.is_busy = False

    def request(self, function: Callable[[], T]) -> None:
        self._request_count += 1
        self._next_function = function
        if not self.is_busy:
            self._begin()

    def cancel(self) -> None:
        """Drop the waiting request, and discard the result of the running request. No callback is
        called."""
        self._request_count += 1
        self._next_function = None

    def _begin(self) -> None:
        function, request_id = self._next_function, self._request_count
        self._next_function = None
        if function is None:
            return
        self.is_busy = True

        def on_done(outcome: T) -> None:
            self.is_busy = False
            if request_id == self._request_count:
                self._on_done(outcome)
            self._begin()

        def on_error(error: Exception) -> None:
            self.is_busy = False
            if request_id == self._request_count:
                self._on_error(error)
            self._begin()

        submit(self._owner, function, on_done, on_error)
