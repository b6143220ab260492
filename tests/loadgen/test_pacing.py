import asyncio
from collections.abc import Callable
from time import perf_counter_ns

import pytest

from loadgen.pacing import HAS_TIMERFD, LoopTimer, Pacer, TimerfdTimer, TimerQueue
from tests.fakes.clock import FakeClock

REAL_ALARMS = pytest.mark.parametrize(
    "alarm",
    [
        pytest.param(TimerfdTimer, marks=pytest.mark.skipif(not HAS_TIMERFD, reason="timerfd is Linux's")),
        LoopTimer,
    ],
)


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

    def __init__(self, schedule_ns: list[int], end_ns: int = 0) -> None:
        self.clock = FakeClock(0)
        self.sent: list[tuple[int, int]] = []
        self.ends = 0
        self.pacer = Pacer(schedule_ns, self._send, self._end, self._make_alarm, self.clock, end_ns)
        self.pacer.start()

    def _make_alarm(self, wake: Callable[[], None]) -> FakeAlarm:
        self.alarm = FakeAlarm(wake)
        return self.alarm

    def _send(self, scheduled_ns: int) -> None:
        self.sent.append((scheduled_ns, self.clock()))

    def _end(self) -> None:
        self.ends += 1

    def wake_at(self, now_ns: int) -> None:
        self.clock.now_ns = now_ns
        self.alarm.wake()


def test_each_arrival_is_sent_when_due_and_the_alarm_set_for_the_next() -> None:
    paced = Paced([100, 200, 300])
    assert (paced.sent, paced.alarm.at_ns) == ([], 100)
    paced.wake_at(100)
    assert (paced.sent, paced.alarm.at_ns) == ([(100, 100)], 200)


def test_a_late_wake_sends_all_that_is_due_with_their_own_scheduled_times() -> None:
    paced = Paced([100, 200, 300, 400])
    paced.wake_at(350)
    assert paced.sent == [(100, 350), (200, 350), (300, 350)]
    assert paced.alarm.at_ns == 400


def test_the_loop_has_its_turn_while_many_are_due() -> None:
    paced = Paced(list(range(100)))
    paced.wake_at(500)
    assert 0 < len(paced.sent) < 100
    assert paced.alarm.at_ns == len(paced.sent)
    while not paced.ends:
        paced.alarm.wake()
    assert [scheduled for scheduled, _ in paced.sent] == list(range(100))


def test_an_early_wake_sends_nothing_and_asks_again() -> None:
    paced = Paced([100])
    paced.wake_at(99)
    assert (paced.sent, paced.alarm.at_ns, paced.pacer.has_ended) == ([], 100, False)


def test_the_end_is_reported_once_after_the_last_arrival() -> None:
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


def test_the_end_is_not_reported_before_its_time() -> None:
    paced = Paced([100], end_ns=500)
    paced.wake_at(100)
    assert (paced.ends, paced.alarm.at_ns) == (0, 500)
    paced.wake_at(500)
    assert (paced.ends, paced.alarm.is_closed) == (1, True)


def test_what_is_left_of_a_schedule_can_be_replaced() -> None:
    paced = Paced([100, 200, 300])
    paced.wake_at(100)
    paced.pacer.replace_schedule([150, 160])
    assert paced.alarm.at_ns == 150
    paced.wake_at(400)
    assert [scheduled for scheduled, _ in paced.sent] == [100, 150, 160]
    assert paced.ends == 1


def test_a_schedule_cannot_be_replaced_after_its_end() -> None:
    paced = Paced([100])
    paced.wake_at(100)
    paced.pacer.replace_schedule([150])
    assert (len(paced.sent), paced.ends) == (1, 1)


class Noted:
    """An agenda on a fake clock, and what it started."""

    def __init__(self) -> None:
        self.clock = FakeClock(0)
        self.started: list[tuple[int, str]] = []
        self.agenda: TimerQueue[str] = TimerQueue(self._start, self._make_alarm, self.clock)

    def _make_alarm(self, wake: Callable[[], None]) -> FakeAlarm:
        self.alarm = FakeAlarm(wake)
        return self.alarm

    def _start(self, due_ns: int, what: str) -> None:
        self.started.append((due_ns, what))
        if what == "another":
            self.agenda.add(due_ns, "the other")

    def wake_at(self, now_ns: int) -> None:
        self.clock.now_ns = now_ns
        self.alarm.wake()


def test_an_agenda_starts_things_in_the_order_of_their_times() -> None:
    noted = Noted()
    for due_ns, what in ((300, "c"), (100, "a"), (200, "b"), (100, "a, added later")):
        noted.agenda.add(due_ns, what)
    assert noted.alarm.at_ns == 100
    noted.wake_at(250)
    assert noted.started == [(100, "a"), (100, "a, added later"), (200, "b")]
    assert noted.alarm.at_ns == 300


def test_an_agenda_with_nothing_on_it_is_not_woken() -> None:
    noted = Noted()
    noted.agenda.add(100, "a")
    noted.wake_at(100)
    assert noted.alarm.at_ns is not None
    assert noted.alarm.at_ns > 10**18


def test_what_is_started_may_add_what_is_due() -> None:
    noted = Noted()
    noted.agenda.add(100, "another")
    noted.wake_at(100)
    assert noted.started == [(100, "another"), (100, "the other")]


def test_a_closed_agenda_starts_nothing() -> None:
    noted = Noted()
    noted.agenda.add(100, "a")
    noted.agenda.close()
    noted.agenda.add(50, "b")
    noted.wake_at(100)
    assert (noted.started, noted.alarm.is_closed) == ([], True)


@REAL_ALARMS
def test_a_real_alarm_can_be_set_to_an_earlier_time(alarm: type[TimerfdTimer | LoopTimer]) -> None:
    async def wait() -> list[tuple[str, bool]]:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        started: list[tuple[str, bool]] = []

        def start(due_ns: int, what: str) -> None:
            started.append((what, perf_counter_ns() >= due_ns))
            if what == "last":
                ended.set()

        agenda: TimerQueue[str] = TimerQueue(start, lambda wake: alarm(loop, wake))
        now_ns = perf_counter_ns()
        for after_ms, what in ((20, "last"), (10, "second"), (2, "first")):
            agenda.add(now_ns + after_ms * 1_000_000, what)
        await asyncio.wait_for(ended.wait(), 5)
        agenda.close()
        return started

    assert asyncio.run(wait()) == [("first", True), ("second", True), ("last", True)]


@REAL_ALARMS
def test_real_alarms_wake_at_every_time_set_and_not_before(alarm: type[TimerfdTimer | LoopTimer]) -> None:
    async def pace() -> list[tuple[int, int]]:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        sent: list[tuple[int, int]] = []
        start_ns = perf_counter_ns()
        schedule = [start_ns + at_ms * 1_000_000 for at_ms in (-1, 3, 4, 9)]
        Pacer(
            schedule,
            lambda due_ns: sent.append((due_ns, perf_counter_ns())),
            ended.set,
            lambda wake: alarm(loop, wake),
        ).start()
        await asyncio.wait_for(ended.wait(), 5)
        return sent

    sent = asyncio.run(pace())
    assert len(sent) == 4
    assert all(sent_ns >= due_ns for due_ns, sent_ns in sent)
