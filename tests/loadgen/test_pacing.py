import asyncio
from collections.abc import Callable
from time import perf_counter_ns

import pytest

from loadgen.pacing import HAS_TIMERFD, LoopAlarm, Pacer, TimerfdAlarm
from tests.fakes.clock import FakeClock


class FakeAlarm:
    """Remembers what was asked of it; the test wakes by hand."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.at_ns: int | None = None
        self.is_closed = False

    def set(self, at_ns: int) -> None:
        assert not self.is_closed
        self.at_ns = at_ns

    def close(self) -> None:
        self.is_closed = True


class Paced:
    """A pacer on a fake clock, and what it did."""

    def __init__(self, schedule_ns: list[int]) -> None:
        self.clock = FakeClock(0)
        self.sent: list[tuple[int, int, int]] = []
        self.ends = 0
        self.pacer = Pacer(schedule_ns, self._send, self._end, self._make_alarm, self.clock)
        self.pacer.start()

    def _make_alarm(self, wake: Callable[[], None]) -> FakeAlarm:
        self.alarm = FakeAlarm(wake)
        return self.alarm

    def _send(self, index: int, intended_ns: int) -> None:
        self.sent.append((index, intended_ns, self.clock()))

    def _end(self) -> None:
        self.ends += 1

    def wake_at(self, now_ns: int) -> None:
        self.clock.now_ns = now_ns
        self.alarm.wake()


def test_each_arrival_is_sent_when_due_and_the_alarm_set_for_the_next() -> None:
    paced = Paced([100, 200, 300])
    assert (paced.sent, paced.alarm.at_ns) == ([], 100)
    paced.wake_at(100)
    assert (paced.sent, paced.alarm.at_ns) == ([(0, 100, 100)], 200)


def test_a_late_wake_sends_all_that_is_due_with_their_own_intended_times() -> None:
    paced = Paced([100, 200, 300, 400])
    paced.wake_at(350)
    assert paced.sent == [(0, 100, 350), (1, 200, 350), (2, 300, 350)]
    assert paced.alarm.at_ns == 400


def test_an_early_wake_sends_nothing_and_asks_again() -> None:
    paced = Paced([100])
    paced.wake_at(99)
    assert (paced.sent, paced.alarm.at_ns, paced.pacer.has_ended) == ([], 100, False)


def test_the_end_is_told_once_after_the_last_arrival() -> None:
    paced = Paced([100, 200])
    paced.wake_at(250)
    paced.pacer.cancel()
    assert (len(paced.sent), paced.ends, paced.alarm.is_closed) == (2, 1, True)


def test_an_empty_schedule_ends_at_once() -> None:
    assert Paced([]).ends == 1


def test_a_cancelled_pacer_starts_no_more() -> None:
    paced = Paced([100, 200])
    paced.wake_at(100)
    paced.pacer.cancel()
    paced.wake_at(500)
    assert (len(paced.sent), paced.ends) == (1, 1)


@pytest.mark.parametrize(
    "alarm",
    [
        pytest.param(TimerfdAlarm, marks=pytest.mark.skipif(not HAS_TIMERFD, reason="timerfd is Linux's")),
        LoopAlarm,
    ],
)
def test_real_alarms_wake_at_every_time_set_and_not_before(alarm: type[TimerfdAlarm | LoopAlarm]) -> None:
    async def pace() -> list[tuple[int, int]]:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        sent: list[tuple[int, int]] = []
        start_ns = perf_counter_ns()
        schedule = [start_ns + at_ms * 1_000_000 for at_ms in (-1, 3, 4, 9)]
        Pacer(
            schedule,
            lambda _, due_ns: sent.append((due_ns, perf_counter_ns())),
            ended.set,
            lambda wake: alarm(loop, wake),
        ).start()
        await asyncio.wait_for(ended.wait(), 5)
        return sent

    sent = asyncio.run(pace())
    assert len(sent) == 4
    assert all(sent_ns >= due_ns for due_ns, sent_ns in sent)
