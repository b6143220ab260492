"""Admission of requests to the batch, in order of arrival.

The engine never preempts a request, so a request is admitted only when its prompt and its longest
possible response fit into the KV cache beside those of all admitted requests.
"""

from __future__ import annotations

from collections import deque

import msgspec

from app.inference.generation.decoder_shape import PagedCache
from app.serving.batching import QueueFullError
from app.serving.settings import Batching


class BatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a batch. `max_length` is the maximum number of tokens of a prompt and its response.

    `cache` is the paged KV cache; `None` if the cache is not paged, so that batches are static: all
    requests of a batch start together."""

    max_batch: int
    max_length: int
    cache: PagedCache | None

    @property
    def batching(self) -> Batching:
        return "static" if self.cache is None else "continuous"


def count_blocks(tokens: int, cache: PagedCache) -> int:
    """Return the number of blocks of the cache that a request with `tokens` tokens needs."""
    return -(-tokens // cache.block_tokens)


class ScheduledRequest(msgspec.Struct, frozen=True):
    """A request in the queue. `max_length` is the maximum number of tokens of its prompt and its
    response."""

    id: int
    max_length: int
    arrived_ns: int


class Scheduler:
    """Queue and batch of requests. The object uses neither a clock nor threads."""

    def __init__(self, limits: BatchLimits, queue_limit: int) -> None:
        self._limits = limits
        self._queue_limit = queue_limit
        self._waiting: deque[ScheduledRequest] = deque()
        self._running: dict[int, int] = {}
        """Number of blocks by ID of the request."""

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def running_count(self) -> int:
        return len(self._running)

    def add(self, request: ScheduledRequest) -> None:
        """Append a request to the queue. Raises QueueFullError if the queue is full."""
        if len(self._waiting) >= self._queue_limit:
            raise QueueFullError
        self._waiting.append(request)

    def admit(self) -> list[ScheduledRequest]:
        """Remove the requests from the queue that can start now, and return them."""
        if self._running and self._limits.batching == "static":
            return []
        admitted = []
        while self._waiting and self._fits(self._waiting[0]):
            request = self._waiting.popleft()
            self._running[request.id] = self._count_blocks(request)
            admitted.append(request)
        return admitted

    def finish(self, request_id: int) -> None:
        """Free the blocks of a request that has ended."""
        del self._running[request_id]

    def withdraw(self, request_id: int) -> bool:
        """Remove a request from the queue. Return False if the request is not in the queue."""
        request = next((request for request in self._waiting if request.id == request_id), None)
        if request is None:
            return False
        self._waiting.remove(request)
        return True

    def _fits(self, request: ScheduledRequest) -> bool:
        if len(self._running) >= self._limits.max_batch:
            return False
        cache = self._limits.cache
        return cache is None or sum(self._running.values()) + self._count_blocks(request) <= cache.blocks

    def _count_blocks(self, request: ScheduledRequest) -> int:
        cache = self._limits.cache
        return 0 if cache is None else count_blocks(request.max_length, cache)
