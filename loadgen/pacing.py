"""Call functions at scheduled times inside an event loop.

Event loops wake up with millisecond resolution. On Linux, the event loop polls a timerfd like a
socket, which wakes it up within tens of microseconds. On other systems, the event loop's own timer
is used, and the send lag shows its accuracy.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

HAS_TIMERFD = sys.platform == "linux"

_FAR_FUTURE_NS = 2**62
_MAX_BURST = 32

T = TypeVar("T")


class Timer(Protocol):
    """Timer that calls one function at the time set by the last `set` (in ns on the monotonic
    clock). If that time has passed, the function is called as soon as possible."""

    def set(self, due_ns: int) -> None: ...

    def close(self) -> None: ...


class Pacer:
    """Pacer of the arrivals of a schedule. It calls `send(scheduled_ns)` with the scheduled start
    of each arrival when it is due, in order, and `on_end()` after the last arrival, but not before
    `end_ns`.

    After a late wake-up, all due arrivals are sent with their original scheduled starts: a stall
    delays arrivals but never drops or reschedules them. The event loop runs between bursts, so that
    responses are processed while a backlog is sent.
    """

    def __init__(
        self,
        schedule_ns: Iterable[int],
        send: Callable[[int], None],
        on_end: Callable[[], None],
        new_timer: Callable[[Callable[[], None]], Timer],
        now_ns: Callable[[], int] = time.perf_counter_ns,
        end_ns: int = 0,
    ) -> None:
        self._schedule = iter(schedule_ns)
        self._send, self._on_end, self._now_ns, self._end_ns = send, on_end, now_ns, end_ns
        self._timer = new_timer(self._wake)
        self._next_ns = next(self._schedule, None)
        self.has_ended = False

    def start(self) -> None:
        self._wake()

    def replace_schedule(self, schedule_ns: Iterable[int], end_ns: int | None = None) -> None:
        """Replace the remaining arrivals of the schedule, and its end time unless `end_ns` is
        None."""
        if not self.has_ended:
            self._end_ns = self._end_ns if end_ns is None else end_ns
            self._schedule = iter(schedule_ns)
            self._next_ns = next(self._schedule, None)
            self._wake()

    def cancel(self) -> None:
        """End the schedule without sending the remaining arrivals."""
        self._next_ns = None
        self._end()

    def _wake(self) -> None:
        now_ns = self._now_ns()
        self._send_due_arrivals(now_ns, _MAX_BURST)
        if self.has_ended:  # `send` canceled the schedule
            return
        if self._next_ns is not None:
            self._timer.set(self._next_ns)
        elif now_ns < self._end_ns:
            self._timer.set(self._end_ns)
        else:
            self._end()

    def _send_due_arrivals(self, now_ns: int, max_count: int) -> None:
        while (due_ns := self._next_ns) is not None and due_ns <= now_ns and max_count:
            self._next_ns = next(self._schedule, None)
            self._send(due_ns)
            max_count -= 1

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._timer.close()
            self._on_end()


class TimerQueue(Generic[T]):
    """Timer queue that calls `start(due_ns, item)` for each item when it is due. Items are ordered
    by due time."""

    def __init__(
        self,
        start: Callable[[int, T], None],
        new_timer: Callable[[Callable[[], None]], Timer],
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._start, self._now_ns = start, now_ns
        self._timer = new_timer(self._wake)
        self._entries: list[tuple[int, int, T]] = []
        self._sequence_number = 0
        self._is_closed = False

    def add(self, due_ns: int, item: T) -> None:
        if self._is_closed:
            return
        # The sequence number preserves the order of items due at the same time, and prevents items
        # from being compared.
        entry = (due_ns, self._sequence_number, item)
        self._sequence_number += 1
        heapq.heappush(self._entries, entry)
        if self._entries[0] is entry:
            self._timer.set(due_ns)

    def close(self) -> None:
        """Drop all items of the timer queue that are not yet due, and close its timer."""
        if not self._is_closed:
            self._is_closed = True
            self._entries.clear()
            self._timer.close()

    def _wake(self) -> None:
        now_ns = self._now_ns()
        while self._entries and self._entries[0][0] <= now_ns:
            due_ns, _, item = heapq.heappop(self._entries)
            self._start(due_ns, item)
        if not self._is_closed:
            self._timer.set(self._entries[0][0] if self._entries else _FAR_FUTURE_NS)


def get_timer_factory(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], Timer]:
    """Return a function that creates a timer on `loop` for a callback. The timer uses the most
    accurate mechanism of the OS."""
    if HAS_TIMERFD:
        return lambda wake: TimerfdTimer(loop, wake)
    return lambda wake: LoopTimer(loop, wake)


class LoopTimer:
    """Timer that uses the event loop's own timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due_ns: int) -> None:
        self.close()
        self._timer = self._loop.call_later(max(0, due_ns - time.perf_counter_ns()) / 1e9, self._wake)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


if sys.version_info >= (3, 13):

    class _Timerfd:
        def __init__(self) -> None:
            self.fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def arm(self, due_ns: int) -> None:
            os.timerfd_settime_ns(self.fd, flags=os.TFD_TIMER_ABSTIME, initial=max(1, due_ns))

else:

    class _Timespec(ctypes.Structure):
        _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))

    class _Itimerspec(ctypes.Structure):
        _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))

    class _Timerfd:
        def __init__(self) -> None:
            # PyDLL does not release the GIL: setting a timer never blocks, whereas reacquiring the
            # GIL could.
            self._libc = ctypes.PyDLL(None, use_errno=True)
            self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            if self.fd < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create")
            self._spec = _Itimerspec()
            self._value = self._spec.it_value
            self._pointer = ctypes.byref(self._spec)
            self._settime = self._libc.timerfd_settime

        def arm(self, due_ns: int) -> None:
            # A time of zero would disarm the timer.
            self._value.tv_sec, self._value.tv_nsec = divmod(max(1, due_ns), 1_000_000_000)
            self._settime(self.fd, 1, self._pointer, None)  # 1: TFD_TIMER_ABSTIME


class TimerfdTimer:
    """Timer that uses a Linux timerfd on CLOCK_MONOTONIC, which the event loop polls.

    The timerfd is never read: setting a new time also clears its readiness, and closing the timer
    removes the timerfd from the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._timerfd = _Timerfd()
        loop.add_reader(self._timerfd.fd, wake)

    def set(self, due_ns: int) -> None:
        self._timerfd.arm(due_ns)

    def close(self) -> None:
        self._loop.remove_reader(self._timerfd.fd)
        os.close(self._timerfd.fd)
