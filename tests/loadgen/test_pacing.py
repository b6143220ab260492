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
    """Records the time to which it was set; the test wakes it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.at_ns: int | None = None
        self.is_closed = False

    def set(self, at_ns: int) -> None:
        assert not self.is_closed
        self.at_ns = at_ns

    def close(self) -> None:
        self.is_closed = True


class RecordedPacer:
    """A pacer on a fake clock that records what it sent."""

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


def test_arrival_is_sent_when_due_and_alarm_is_set_to_next_arrival() -> None:
    recorded = RecordedPacer([100, 200, 300])
    assert (recorded.sent, recorded.alarm.at_ns) == ([], 100)
    recorded.wake_at(100)
    assert (recorded.sent, recorded.alarm.at_ns) == ([(100, 100)], 200)


def test_late_wake_sends_all_due_arrivals_with_their_scheduled_times() -> None:
    recorded = RecordedPacer([100, 200, 300, 400])
    recorded.wake_at(350)
    assert recorded.sent == [(100, 350), (200, 350), (300, 350)]
    assert recorded.alarm.at_ns == 400


def test_event_loop_runs_between_batches_of_due_arrivals() -> None:
    recorded = RecordedPacer(list(range(100)))
    recorded.wake_at(500)
    assert 0 < len(recorded.sent) < 100
    assert recorded.alarm.at_ns == len(recorded.sent)
    while not recorded.ends:
        recorded.alarm.wake()
    assert [scheduled for scheduled, _ in recorded.sent] == list(range(100))


def test_early_wake_sends_nothing_and_sets_alarm_again() -> None:
    recorded = RecordedPacer([100])
    recorded.wake_at(99)
    assert (recorded.sent, recorded.alarm.at_ns, recorded.pacer.has_ended) == ([], 100, False)


def test_end_of_schedule_is_reported_once_after_last_arrival() -> None:
    recorded = RecordedPacer([100, 200])
    recorded.wake_at(250)
    recorded.pacer.cancel()
    assert (len(recorded.sent), recorded.ends, recorded.alarm.is_closed) == (2, 1, True)


def test_empty_schedule_ends_immediately() -> None:
    assert RecordedPacer([]).ends == 1


def test_canceled_pacer_sends_no_more_arrivals() -> None:
    recorded = RecordedPacer([100, 200])
    recorded.wake_at(100)
    recorded.pacer.cancel()
    recorded.wake_at(500)
    assert (len(recorded.sent), recorded.ends) == (1, 1)


def test_end_of_schedule_is_not_reported_before_end_time() -> None:
    recorded = RecordedPacer([100], end_ns=500)
    recorded.wake_at(100)
    assert (recorded.ends, recorded.alarm.at_ns) == (0, 500)
    recorded.wake_at(500)
    assert (recorded.ends, recorded.alarm.is_closed) == (1, True)


def test_rest_of_schedule_can_be_replaced() -> None:
    recorded = RecordedPacer([100, 200, 300])
    recorded.wake_at(100)
    recorded.pacer.replace_schedule([150, 160])
    assert recorded.alarm.at_ns == 150
    recorded.wake_at(400)
    assert [scheduled for scheduled, _ in recorded.sent] == [100, 150, 160]
    assert recorded.ends == 1


def test_finished_schedule_cannot_be_replaced() -> None:
    recorded = RecordedPacer([100])
    recorded.wake_at(100)
    recorded.pacer.replace_schedule([150])
    assert (len(recorded.sent), recorded.ends) == (1, 1)


class RecordedTimerQueue:
    """A timer queue on a fake clock that records what it started."""

    def __init__(self) -> None:
        self.clock = FakeClock(0)
        self.started: list[tuple[int, str]] = []
        self.timers: TimerQueue[str] = TimerQueue(self._start, self._make_alarm, self.clock)

    def _make_alarm(self, wake: Callable[[], None]) -> FakeAlarm:
        self.alarm = FakeAlarm(wake)
        return self.alarm

    def _start(self, due_ns: int, item: str) -> None:
        self.started.append((due_ns, item))
        if item == "another":
            self.timers.add(due_ns, "the other")

    def wake_at(self, now_ns: int) -> None:
        self.clock.now_ns = now_ns
        self.alarm.wake()


def test_timer_queue_starts_items_in_order_of_due_time() -> None:
    recorded_queue = RecordedTimerQueue()
    for due_ns, item in ((300, "c"), (100, "a"), (200, "b"), (100, "a, added later")):
        recorded_queue.timers.add(due_ns, item)
    assert recorded_queue.alarm.at_ns == 100
    recorded_queue.wake_at(250)
    assert recorded_queue.started == [(100, "a"), (100, "a, added later"), (200, "b")]
    assert recorded_queue.alarm.at_ns == 300


def test_alarm_of_empty_timer_queue_is_set_to_distant_future() -> None:
    recorded_queue = RecordedTimerQueue()
    recorded_queue.timers.add(100, "a")
    recorded_queue.wake_at(100)
    assert recorded_queue.alarm.at_ns is not None
    assert recorded_queue.alarm.at_ns > 10**18


def test_started_item_may_add_due_item_to_timer_queue() -> None:
    recorded_queue = RecordedTimerQueue()
    recorded_queue.timers.add(100, "another")
    recorded_queue.wake_at(100)
    assert recorded_queue.started == [(100, "another"), (100, "the other")]


def test_closed_timer_queue_starts_nothing() -> None:
    recorded_queue = RecordedTimerQueue()
    recorded_queue.timers.add(100, "a")
    recorded_queue.timers.close()
    recorded_queue.timers.add(50, "b")
    recorded_queue.wake_at(100)
    assert (recorded_queue.started, recorded_queue.alarm.is_closed) == ([], True)


@REAL_ALARMS
def test_alarm_can_be_set_to_earlier_time(alarm: type[TimerfdTimer | LoopTimer]) -> None:
    async def wait() -> list[tuple[str, bool]]:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        started: list[tuple[str, bool]] = []

        def start(due_ns: int, item: str) -> None:
            started.append((item, perf_counter_ns() >= due_ns))
            if item == "last":
                ended.set()

        timers: TimerQueue[str] = TimerQueue(start, lambda wake: alarm(loop, wake))
        now_ns = perf_counter_ns()
        for after_ms, item in ((20, "last"), (10, "second"), (2, "first")):
            timers.add(now_ns + after_ms * 1_000_000, item)
        await asyncio.wait_for(ended.wait(), 5)
        timers.close()
        return started

    assert asyncio.run(wait()) == [("first", True), ("second", True), ("last", True)]


@REAL_ALARMS
def test_alarms_wake_at_every_set_time_and_not_before(alarm: type[TimerfdTimer | LoopTimer]) -> None:
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
