"""Dynamic batching: select the queued requests that run together, and start each batch.

A batch starts when the model is idle and either no later request could join the batch, or the
oldest request has waited for the queue delay. Requests are served in order of arrival, and a
request with several rows is never split.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from app.errors import SizewiseError
from app.inference.rows import Feeds

Outputs = Sequence[Any]
BatchResult = Outputs | SizewiseError


class QueueFullError(Exception):
    """Error that is raised when a request is submitted while the queue is full."""


class DrainingError(Exception):
    """Error that is raised when a request is submitted while the endpoint is shutting down, and that
    ends a request that was not completed in time."""


class QueuedRequest(msgspec.Struct, frozen=True, eq=False):
    """A request in the queue. Requests with the same `batch_key` can run in one batch; a request
    with the `batch_key` `None` always runs as a separate batch."""

    feeds: Feeds
    row_count: int
    batch_key: object
    arrived_ns: int
    future: asyncio.Future[Outputs]


class BatchQueue:
    """Queue that holds requests in order of arrival and selects the next batch. The queue uses
    neither a clock nor an event loop."""

    def __init__(self, max_rows: int, delay_ns: int, max_requests: int) -> None:
        self._requests: deque[QueuedRequest] = deque()
        self._max_rows = max_rows
        self._delay_ns = delay_ns
        self._max_requests = max_requests
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: QueuedRequest) -> None:
        """Append a request. Raises QueueFullError if the queue is full."""
        if len(self._requests) >= self._max_requests:
            raise QueueFullError
        self._requests.append(request)

    def close(self) -> None:
        """Make `pop_next_batch` return batches without waiting, because no further requests will
        arrive."""
        self._is_closed = True

    def get_due_ns(self) -> int | None:
        """Return the time in ns at which the oldest request has waited for the queue delay; `None`
        if the queue is empty."""
        return self._requests[0].arrived_ns + self._delay_ns if self._requests else None

    def pop_next_batch(self, now_ns: int) -> list[QueuedRequest]:
        """Remove the next batch from the queue and return it; return an empty list while the batch
        can still wait for further requests."""
        due_ns = self.get_due_ns()
        if due_ns is None:
            return []
        count, is_complete = self._compute_next_batch_size()
        if not is_complete and now_ns < due_ns:
            return []
        return [self._requests.popleft() for _ in range(count)]

    def _compute_next_batch_size(self) -> tuple[int, bool]:
        """Return the number of requests at the front of the queue that form the next batch, and
        whether no later request could join the batch."""
        first_request = self._requests[0]
        row_count = request_count = 0
        for request in self._requests:
            if request_count and (
                first_request.batch_key is None
                or request.batch_key != first_request.batch_key
                or row_count + request.row_count > self._max_rows
            ):
                return request_count, True
            row_count += request.row_count
            request_count += 1
        return request_count, self._is_closed or first_request.batch_key is None or row_count >= self._max_rows


class Batcher:
    """Dynamic batcher that submits one batch at a time. All methods must be called on the event
    loop's thread.

    `submit(batch, on_done)` must run the batch on a different thread and then call `on_done` on the
    event loop with one result per request.
    """

    def __init__(
        self,
        queue: BatchQueue,
        submit: Callable[[list[QueuedRequest], Callable[[Sequence[BatchResult]], None]], None],
        *,
        now_ns: Callable[[], int],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self._queue = queue
        self._submit = submit
        self._now_ns = now_ns
        self._call_later = call_later
        self._running_batch: list[QueuedRequest] = []
        self._is_timer_set = False
        self._drained_event: asyncio.Event | None = None

    @property
    def queued_count(self) -> int:
        return len(self._queue)

    @property
    def is_draining(self) -> bool:
        return self._drained_event is not None

    def submit(self, feeds: Feeds, row_count: int, batch_key: object) -> asyncio.Future[Outputs]:
        """Queue a request and return a future of the outputs. Raises QueueFullError if the queue is
        full, and DrainingError after `drain`."""
        if self._drained_event is not None:
            raise DrainingError
        future: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self._queue.add(QueuedRequest(feeds, row_count, batch_key, self._now_ns(), future))
        self._start_batch()
        return future

    async def drain(self) -> None:
        """Reject further requests, and wait until all queued requests have been completed."""
        if self._drained_event is None:
            self._drained_event = asyncio.Event()
            self._queue.close()
            self._start_batch()
            self._notify_drained()
        await self._drained_event.wait()

    def abort(self) -> None:
        """End all queued and running requests with DrainingError."""
        self._queue.close()
        requests = [*self._running_batch]
        while batch := self._queue.pop_next_batch(self._now_ns()):
            requests += batch
        for request in requests:
            if not request.future.done():
                request.future.set_exception(DrainingError())

    def _start_batch(self) -> None:
        if self._running_batch:
            return
        now_ns = self._now_ns()
        self._running_batch = self._queue.pop_next_batch(now_ns)
        if self._running_batch:
            self._submit(self._running_batch, self._finish)
            return
        due_ns = self._queue.get_due_ns()
        if due_ns is not None and not self._is_timer_set:
            self._is_timer_set = True
            self._call_later((due_ns - now_ns) / 1e9, self._on_timer)

    def _on_timer(self) -> None:
        self._is_timer_set = False
        self._start_batch()

    def _finish(self, results: Sequence[BatchResult]) -> None:
        batch, self._running_batch = self._running_batch, []
        # Start the next batch before the responses of the finished batch are written.
        self._start_batch()
        for request, result in zip(batch, results, strict=True):
            if request.future.done():
                continue  # The client has disconnected.
            if isinstance(result, SizewiseError):
                request.future.set_exception(result)
            else:
                request.future.set_result(result)
        self._notify_drained()

    def _notify_drained(self) -> None:
        if self._drained_event is not None and not self._running_batch and not self._queue:
            self._drained_event.set()
