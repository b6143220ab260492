"""Keeps a schedule against a clock, inside an event loop.

Event loops wake on whole milliseconds. On Linux a timerfd, waited for like a socket, wakes within tens of microseconds;
elsewhere the loop's own timer has to do, and the send lag tells how well it did.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Protocol

HAS_TIMERFD = sys.platform == "linux"


class Alarm(Protocol):
    """Calls one function at the time last set, or as soon as possible when that has passed."""

    def set(self, at_ns: int) -> None: ...

    def close(self) -> None: ...


class Pacer:
    """Calls `send(index, intended_ns)` for each arrival when it is due, in order, and `on_end()` after the last.

    A late wake sends everything that is due, each with its own intended time: a stall delays arrivals, it never
    drops or moves them.
    """

    def __init__(
        self,
        schedule_ns: Iterable[int],
        send: Callable[[int, int], None],
        on_end: Callable[[], None],
        alarm: Callable[[Callable[[], None]], Alarm],
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._schedule = iter(schedule_ns)
        self._send, self._on_end, self._now_ns = send, on_end, now_ns
        self._alarm = alarm(self._wake)
        self._next_ns = next(self._schedule, None)
        self.started = 0
        self.has_ended = False

    def start(self) -> None:
        self._wake()

    def cancel(self) -> None:
        """Start no more arrivals."""
        self._next_ns = None
        self._end()

    def _wake(self) -> None:
        now_ns = self._now_ns()
        while (due_ns := self._next_ns) is not None and due_ns <= now_ns:
            self._next_ns = next(self._schedule, None)
            self._send(self.started, due_ns)
            self.started += 1
        if self._next_ns is None:
            self._end()
        else:
            self._alarm.set(self._next_ns)

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._alarm.close()
            self._on_end()


def alarm_on(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], None]], Alarm]:
    """What makes the best alarm this machine has on `loop`."""
    if HAS_TIMERFD:
        return lambda wake: TimerfdAlarm(loop, wake)
    return lambda wake: LoopAlarm(loop, wake)


class LoopAlarm:
    """The loop's own timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop, self._wake = loop, wake
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        self._timer = self._loop.call_later(max(0, at_ns - time.perf_counter_ns()) / 1e9, self._wake)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


if sys.version_info >= (3, 13):

    class _Timer:
        def __init__(self) -> None:
            self.fd = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def arm(self, at_ns: int) -> None:
            os.timerfd_settime_ns(self.fd, flags=os.TFD_TIMER_ABSTIME, initial=max(1, at_ns))

else:

    class _Timespec(ctypes.Structure):
        _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))

    class _Itimerspec(ctypes.Structure):
        _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))

    class _Timer:
        def __init__(self) -> None:
            # PyDLL keeps the GIL: setting a timer never waits, and taking the GIL back could
            self._libc = ctypes.PyDLL(None, use_errno=True)
            self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            if self.fd < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create")
            self._spec = _Itimerspec()
            self._value = self._spec.it_value
            self._pointer = ctypes.byref(self._spec)
            self._settime = self._libc.timerfd_settime

        def arm(self, at_ns: int) -> None:
            # a time of zero would disarm the timer
            self._value.tv_sec, self._value.tv_nsec = divmod(max(1, at_ns), 1_000_000_000)
            self._settime(self.fd, 1, self._pointer, None)  # 1: TFD_TIMER_ABSTIME


class TimerfdAlarm:
    """A Linux timer on CLOCK_MONOTONIC as a file the loop waits for.

    It is never read: setting it again also clears its readiness, and after the last alarm it is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._timer = _Timer()
        loop.add_reader(self._timer.fd, wake)

    def set(self, at_ns: int) -> None:
        self._timer.arm(at_ns)

    def close(self) -> None:
        self._loop.remove_reader(self._timer.fd)
        os.close(self._timer.fd)
