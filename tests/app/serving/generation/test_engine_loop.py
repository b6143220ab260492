from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from app.errors import MeasurementError, SizewiseError
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.engine import FinishReason, GenerationTask, TokenEvent
from app.serving.generation.engine_loop import EngineLoop
from app.serving.generation.scheduling import BatchLimits, Scheduler

WAIT_S = 30.0
TASK = GenerationTask(prompt=(1, 2), max_tokens=3)


class CountingEngine:
    """An engine that generates the tokens 0, 1, 2 … of each request, one per step, and can be made to fail."""

    def __init__(self) -> None:
        self.running: dict[int, int] = {}
        self.batches: list[list[int]] = []
        self.error: Exception | None = None
        self.is_rejecting = False
        self.rejected_cancellation: int | None = None
        self._cancelled: set[int] = set()

    def start(self, request_id: int, task: GenerationTask) -> None:
        if self.is_rejecting:
            raise MeasurementError("no")
        self.running[request_id] = task.max_tokens

    def cancel(self, request_id: int) -> None:
        if request_id == self.rejected_cancellation:
            del self.running[request_id]
            raise MeasurementError("no")
        self._cancelled.add(request_id)

    def step(self) -> list[TokenEvent]:
        if self.error is not None:
            raise self.error
        self.batches.append([*self.running])
        events = []
        for request_id, left in [*self.running.items()]:
            is_cancelled = request_id in self._cancelled
            self.running[request_id] = left - 1
            reason = FinishReason.CANCELLED if is_cancelled else FinishReason.LENGTH if left == 1 else None
            if reason is not None:
                del self.running[request_id]
            events.append(TokenEvent(request_id, None if is_cancelled else TASK.max_tokens - left, reason))
        return events


class RunningLoop:
    def __init__(self, engine: CountingEngine) -> None:
        self.events: queue.Queue[TokenEvent | SizewiseError] = queue.Queue()
        scheduler = Scheduler(BatchLimits(max_batch=4, max_length=9, cache=PagedCache()), queue_limit=9)
        self.loop = EngineLoop(
            lambda: engine, scheduler, lambda events: [*map(self.events.put, events)], self.events.put
        )

    def get_next_event(self) -> TokenEvent | SizewiseError:
        return self.events.get(timeout=WAIT_S)

    def collect_events(self, requests: int) -> dict[int, list[TokenEvent]]:
        """Return the events by request until this number of requests has ended."""
        events: dict[int, list[TokenEvent]] = {}
        while requests:
            event = self.get_next_event()
            assert isinstance(event, TokenEvent)
            events.setdefault(event.request_id, []).append(event)
            requests -= event.finish_reason is not None
        return events


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


@pytest.fixture
def running_loop(engine: CountingEngine) -> Iterator[RunningLoop]:
    running = RunningLoop(engine)
    yield running
    running.loop.close()


def test_tokens_of_batched_requests_arrive_in_order(running_loop: RunningLoop, engine: CountingEngine) -> None:
    for request_id in range(6):
        running_loop.loop.submit(request_id, TASK)
    running_loop.loop.start()
    events = running_loop.collect_events(6)
    assert [[event.token for event in events[request_id]] for request_id in range(6)] == [[0, 1, 2]] * 6
    assert engine.batches == [[0, 1, 2, 3]] * 3 + [[4, 5]] * 3


def test_idle_engine_is_not_run(running_loop: RunningLoop, engine: CountingEngine) -> None:
    running_loop.loop.start()
    for request_id in range(3):
        running_loop.loop.submit(request_id, TASK)
        running_loop.collect_events(1)
    assert len(engine.batches) == 9


def test_running_request_is_cancelled_and_waiting_request_is_withdrawn(
    running_loop: RunningLoop, engine: CountingEngine
) -> None:
    for request_id in range(5):
        running_loop.loop.submit(request_id, TASK)
    assert not running_loop.loop.cancel(0)
    assert running_loop.loop.cancel(4), "the request is waiting"
    running_loop.loop.start()
    events = running_loop.collect_events(4)
    assert events[0] == [TokenEvent(0, None, FinishReason.CANCELLED)]
    assert [*events] == [0, 1, 2, 3]


def test_request_rejected_by_the_engine_does_not_end_others(running_loop: RunningLoop, engine: CountingEngine) -> None:
    engine.is_rejecting = True
    running_loop.loop.submit(0, TASK)
    running_loop.loop.start()
    assert running_loop.get_next_event() == TokenEvent(0, None, FinishReason.FAILED)
    engine.is_rejecting = False
    running_loop.loop.submit(1, TASK)
    assert [*running_loop.collect_events(1)] == [1]


def test_failed_cancellation_ends_only_its_request(running_loop: RunningLoop, engine: CountingEngine) -> None:
    engine.rejected_cancellation = 0
    for request_id in range(2):
        running_loop.loop.submit(request_id, TASK)
    running_loop.loop.cancel(0)
    running_loop.loop.start()
    events = running_loop.collect_events(2)
    assert events[0] == [TokenEvent(0, None, FinishReason.FAILED)]
    assert [event.token for event in events[1]] == [0, 1, 2]
    assert running_loop.loop.count_requests() == (0, 0)


@pytest.mark.parametrize("error", [MeasurementError("broken"), ValueError("broken")])
def test_engine_failure_is_reported_by_the_loop(
    running_loop: RunningLoop, engine: CountingEngine, error: Exception
) -> None:
    engine.error = error
    running_loop.loop.submit(0, TASK)
    running_loop.loop.start()
    failure = running_loop.get_next_event()
    assert isinstance(failure, MeasurementError)
    assert "broken" in str(failure)
