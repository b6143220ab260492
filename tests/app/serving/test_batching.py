"""The model and the clock are fakes: the test ends each batch and advances the time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from app.errors import MeasurementError
from app.serving.batching import (
    Batcher,
    BatchQueue,
    BatchResult,
    DrainingError,
    Outputs,
    QueuedRequest,
    QueueFullError,
)
from tests.fakes.clock import FakeClock

DELAY_S = 0.002
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeModel:
    """A model that returns the results of its batch at `finish`: by default the feeds of each request."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self._running: tuple[list[QueuedRequest], Callable[[Sequence[BatchResult]], None]] | None = None

    def submit(self, batch: list[QueuedRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        assert self._running is None, "two batches run at the same time"
        self.batches.append([get_number(request) for request in batch])
        self._running = batch, done

    def finish(self, results: Sequence[BatchResult] | None = None) -> None:
        assert self._running is not None
        (batch, done), self._running = self._running, None
        done([[request.feeds["n"]] for request in batch] if results is None else results)


class BatcherSetup:
    def __init__(self, max_rows: int = 4, limit: int = 100) -> None:
        self.clock = FakeClock()
        self.model = FakeModel()
        self.timers: list[tuple[int, Callable[[], None]]] = []
        queue = BatchQueue(max_rows, round(DELAY_S * 1e9), limit)
        self.batcher = Batcher(queue, self.model.submit, now_ns=self.clock, call_later=self._call_later)

    def submit(self, number: int, rows: int = 1, joins: object = "same") -> asyncio.Future[Outputs]:
        return self.batcher.submit({"n": np.array([number])}, rows, joins)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        due = [call for at_ns, call in self.timers if at_ns <= self.clock.now_ns]
        self.timers = [timer for timer in self.timers if timer[0] > self.clock.now_ns]
        for call in due:
            call()

    def _call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.timers.append((self.clock.now_ns + round(delay_s * 1e9), call))


def get_number(request: QueuedRequest) -> int:
    return int(request.feeds["n"][0])


async def test_single_request_runs_after_the_queue_delay() -> None:
    setup = BatcherSetup()
    setup.submit(1)
    setup.advance(DELAY_S * 0.99)
    assert setup.model.batches == []
    setup.advance(DELAY_S * 0.02)
    assert setup.model.batches == [[1]]


async def test_queue_delay_counts_from_the_oldest_request() -> None:
    setup = BatcherSetup()
    setup.submit(1)
    setup.advance(DELAY_S * 0.9)
    setup.submit(2)
    setup.advance(DELAY_S * 0.2)
    assert setup.model.batches == [[1, 2]]


async def test_full_batch_starts_at_once() -> None:
    setup = BatcherSetup(max_rows=3)
    for number in range(3):
        setup.submit(number)
    assert setup.model.batches == [[0, 1, 2]]


async def test_requests_delayed_by_a_running_batch_run_right_after_it() -> None:
    setup = BatcherSetup(max_rows=3)
    for number in range(3):
        setup.submit(number)
    setup.submit(3)
    setup.advance(DELAY_S * 2)
    assert setup.model.batches == [[0, 1, 2]]
    setup.model.finish()
    assert setup.model.batches == [[0, 1, 2], [3]]


async def test_new_request_after_a_batch_waits_for_its_queue_delay() -> None:
    setup = BatcherSetup(max_rows=2)
    setup.submit(1)
    setup.submit(2)
    setup.submit(3)
    setup.model.finish()
    assert setup.model.batches == [[1, 2]]
    setup.advance(DELAY_S)
    assert setup.model.batches == [[1, 2], [3]]


async def test_requests_with_several_rows_are_not_split_or_reordered() -> None:
    setup = BatcherSetup(max_rows=4)
    setup.submit(1, rows=3)
    setup.submit(2, rows=2)
    assert setup.model.batches == [[1]]
    setup.submit(3, rows=2)
    setup.model.finish()
    assert setup.model.batches == [[1], [2, 3]]


async def test_request_larger_than_a_batch_runs_in_its_own_batch() -> None:
    setup = BatcherSetup(max_rows=4)
    setup.submit(1, rows=9)
    assert setup.model.batches == [[1]]


async def test_requests_with_different_or_no_batch_keys_are_not_batched() -> None:
    setup = BatcherSetup(max_rows=4)
    setup.submit(1, joins="short")
    setup.submit(2, joins="long")
    assert setup.model.batches == [[1]]
    setup.submit(3, joins=None)
    setup.submit(4, joins=None)
    for _ in range(3):
        setup.model.finish()
    assert setup.model.batches == [[1], [2], [3], [4]]


async def test_each_batch_result_is_returned_to_its_request() -> None:
    setup = BatcherSetup(max_rows=3)
    requests = [setup.submit(number) for number in range(3)]
    setup.model.finish()
    assert [int((await request)[0][0]) for request in requests] == [0, 1, 2]


async def test_failed_result_fails_only_its_request() -> None:
    setup = BatcherSetup(max_rows=2)
    good, bad = setup.submit(1), setup.submit(2)
    setup.model.finish([["fine"], MeasurementError("broken")])
    assert await good == ["fine"]
    with pytest.raises(MeasurementError, match="broken"):
        await bad


async def test_result_of_a_cancelled_request_is_discarded() -> None:
    setup = BatcherSetup(max_rows=2)
    cancelled, waiting = setup.submit(1), setup.submit(2)
    cancelled.cancel()
    setup.model.finish()
    assert int((await waiting)[0][0]) == 2


async def test_queue_limit_does_not_count_running_requests() -> None:
    setup = BatcherSetup(max_rows=1, limit=2)
    for number in range(3):
        setup.submit(number)
    assert setup.batcher.queued_count == 2
    with pytest.raises(QueueFullError):
        setup.submit(3)
    setup.model.finish()
    setup.submit(4)


async def test_drain_runs_waiting_requests_at_once_and_rejects_new_ones() -> None:
    setup = BatcherSetup(max_rows=4)
    waiting = setup.submit(1)
    draining = asyncio.ensure_future(setup.batcher.drain())
    await asyncio.sleep(0)
    assert setup.model.batches == [[1]]
    with pytest.raises(DrainingError):
        setup.submit(2)
    assert not draining.done()
    setup.model.finish()
    await draining
    assert waiting.done()


async def test_drain_of_an_idle_batcher_is_immediate() -> None:
    await BatcherSetup().batcher.drain()


async def test_abort_fails_running_and_waiting_requests() -> None:
    setup = BatcherSetup(max_rows=1)
    requests = [setup.submit(1), setup.submit(2)]
    setup.batcher.abort()
    for request in requests:
        with pytest.raises(DrainingError):
            await request
    setup.model.finish()
    assert setup.model.batches == [[1]]
