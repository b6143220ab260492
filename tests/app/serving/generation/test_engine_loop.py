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
    """Generates the tokens 0, 1, 2 … of each request, one a step, and has its faults on request."""

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


class Looping:
    def __init__(self, engine: CountingEngine) -> None:
        self.events: queue.Queue[TokenEvent | SizewiseError] = queue.Queue()
        scheduler = Scheduler(BatchLimits(max_batch=4, max_length=9, cache=PagedCache()), queue_limit=9)
        self.loop = EngineLoop(
            lambda: engine, scheduler, lambda events: [*map(self.events.put, events)], self.events.put
        )

    def next(self) -> TokenEvent | SizewiseError:
        return self.events.get(timeout=WAIT_S)

    def until_ended(self, requests: int) -> dict[int, list[TokenEvent]]:
        """The events of the requests up to the end of the last of them."""
        events: dict[int, list[TokenEvent]] = {}
        while requests:
            event = self.next()
            assert isinstance(event, TokenEvent)
            events.setdefault(event.request_id, []).append(event)
            requests -= event.finish_reason is not None
        return events


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine()


@pytest.fixture
def looping(engine: CountingEngine) -> Iterator[Looping]:
    looping = Looping(engine)
    yield looping
    looping.loop.close()


def test_tokens_of_a_batch_come_in_order(looping: Looping, engine: CountingEngine) -> None:
    for request_id in range(6):
        looping.loop.submit(request_id, TASK)
    looping.loop.start()
    events = looping.until_ended(6)
    assert [[event.token for event in events[request_id]] for request_id in range(6)] == [[0, 1, 2]] * 6
    assert engine.batches == [[0, 1, 2, 3]] * 3 + [[4, 5]] * 3


def test_idle_engine_is_not_run(looping: Looping, engine: CountingEngine) -> None:
    looping.loop.start()
    for request_id in range(3):
        looping.loop.submit(request_id, TASK)
        looping.until_ended(1)
    assert len(engine.batches) == 9


def test_cancelled_request_ends_and_a_waiting_one_never_starts(looping: Looping, engine: CountingEngine) -> None:
    for request_id in range(5):
        looping.loop.submit(request_id, TASK)
    assert not looping.loop.cancel(0)
    assert looping.loop.cancel(4), "it waits"
    looping.loop.start()
    events = looping.until_ended(4)
    assert events[0] == [TokenEvent(0, None, FinishReason.CANCELLED)]
    assert [*events] == [0, 1, 2, 3]


def test_rejected_request_ends_alone(looping: Looping, engine: CountingEngine) -> None:
    engine.is_rejecting = True
    looping.loop.submit(0, TASK)
    looping.loop.start()
    assert looping.next() == TokenEvent(0, None, FinishReason.FAILED)
    engine.is_rejecting = False
    looping.loop.submit(1, TASK)
    assert [*looping.until_ended(1)] == [1]


def test_request_that_cannot_be_cancelled_ends_alone(looping: Looping, engine: CountingEngine) -> None:
    engine.rejected_cancellation = 0
    for request_id in range(2):
        looping.loop.submit(request_id, TASK)
    looping.loop.cancel(0)
    looping.loop.start()
    events = looping.until_ended(2)
    assert events[0] == [TokenEvent(0, None, FinishReason.FAILED)]
    assert [event.token for event in events[1]] == [0, 1, 2]
    assert looping.loop.count_requests() == (0, 0)


@pytest.mark.parametrize("error", [MeasurementError("broken"), ValueError("broken")])
def test_failure_is_reported(looping: Looping, engine: CountingEngine, error: Exception) -> None:
    engine.error = error
    looping.loop.submit(0, TASK)
    looping.loop.start()
    failure = looping.next()
    assert isinstance(failure, MeasurementError)
    assert "broken" in str(failure)
