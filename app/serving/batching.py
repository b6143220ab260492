"""Dynamic batching: which waiting requests run together, and when.

A batch starts when the model is idle and either nothing that may still come could join it, or its oldest request has
waited the queue delay. Requests are answered in the order they came, and one of several rows is kept whole.
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
Answer = Outputs | SizewiseError


class QueueFullError(Exception):
    """As many requests wait as may."""


class DrainingError(Exception):
    """The endpoint is stopping and takes no more requests."""


class WaitingRequest(msgspec.Struct, frozen=True, eq=False):
    """`joins` is equal for requests that can run together; None for one that always runs alone."""

    feeds: Feeds
    rows: int
    joins: object
    arrived_ns: int
    answer: asyncio.Future[Outputs]


class BatchQueue:
    """Requests in the order they came. Knows no clock and no event loop."""

    def __init__(self, max_rows: int, delay_ns: int, limit: int) -> None:
        self._waiting: deque[WaitingRequest] = deque()
        self._max_rows = max_rows
        self._delay_ns = delay_ns
        self._limit = limit
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: WaitingRequest) -> None:
        """Raises QueueFullError at the limit."""
        if len(self._waiting) >= self._limit:
            raise QueueFullError
        self._waiting.append(request)

    def close(self) -> None:
        """Nothing more will come, so nothing is worth waiting for."""
        self._is_closed = True

    def due_ns(self) -> int | None:
        """When the oldest request has waited long enough; None when nothing waits."""
        return self._waiting[0].arrived_ns + self._delay_ns if self._waiting else None

    def take(self, now_ns: int) -> list[WaitingRequest]:
        """The next batch, or nothing while it is worth waiting for more."""
        due_ns = self.due_ns()
        if due_ns is None:
            return []
        count, is_complete = self._head()
        if not is_complete and now_ns < due_ns:
            return []
        return [self._waiting.popleft() for _ in range(count)]

    def _head(self) -> tuple[int, bool]:
        """How many requests from the front run together, and whether no later one could join them."""
        first = self._waiting[0]
        rows = count = 0
        for request in self._waiting:
            if count and (first.joins is None or request.joins != first.joins or rows + request.rows > self._max_rows):
                return count, True
            rows += request.rows
            count += 1
        return count, self._is_closed or first.joins is None or rows >= self._max_rows


class Batcher:
    """Gives batches to a model, one at a time. All methods belong to the event loop's thread.

    `submit(batch, done)` starts a batch elsewhere and has `done` called, on the event loop, with one answer a request.
    """

    def __init__(
        self,
        queue: BatchQueue,
        submit: Callable[[list[WaitingRequest], Callable[[Sequence[Answer]], None]], None],
        *,
        now_ns: Callable[[], int],
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self._queue = queue
        self._submit = submit
        self._now_ns = now_ns
        self._call_later = call_later
        self._running: list[WaitingRequest] = []
        self._is_timer_set = False
        self._drained: asyncio.Event | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def is_draining(self) -> bool:
        return self._drained is not None

    def request(self, feeds: Feeds, rows: int, joins: object) -> asyncio.Future[Outputs]:
        """The outputs of these rows, later. Raises QueueFullError or DrainingError at once."""
        if self._drained is not None:
            raise DrainingError
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        self._queue.add(WaitingRequest(feeds, rows, joins, self._now_ns(), answer))
        self._start_batch()
        return answer

    async def drain(self) -> None:
        """Take no more requests, and return when all that wait have their answers."""
        if self._drained is None:
            self._drained = asyncio.Event()
            self._queue.close()
            self._start_batch()
            self._tell_drained()
        await self._drained.wait()

    def _start_batch(self) -> None:
        if self._running:
            return
        now_ns = self._now_ns()
        self._running = self._queue.take(now_ns)
        if self._running:
            self._submit(self._running, self._finish)
            return
        due_ns = self._queue.due_ns()
        if due_ns is not None and not self._is_timer_set:
            self._is_timer_set = True
            self._call_later((due_ns - now_ns) / 1e9, self._on_timer)

    def _on_timer(self) -> None:
        self._is_timer_set = False
        self._start_batch()

    def _finish(self, answers: Sequence[Answer]) -> None:
        finished, self._running = self._running, []
        # the model's next batch starts before the last one's answers are written
        self._start_batch()
        for request, answer in zip(finished, answers, strict=True):
            if request.answer.done():
                continue  # the client has gone
            if isinstance(answer, SizewiseError):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)
        self._tell_drained()

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._running and not self._queue:
            self._drained.set()
